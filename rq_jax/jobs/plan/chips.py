"""Memory and peak rates of chips, in bytes and operations per second."""

import dataclasses
import math
import re


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
  """The memory and the peak rates of one device.

  Attributes:
    name: Name of the chip.
    memory: Bytes of its memory; None if unknown.
    bytes_per_second: Bandwidth of its memory.
    flops16: Dense operations per second in bfloat16.
    flops32: Dense operations per second in float32, at the default precision of
      JAX: TF32 on GPUs, bfloat16 on TPUs.
    gap_seconds: Time from one kernel to the next; an assumption.
    link_bytes_per_second: Bandwidth of its links to other chips, in one
      direction: of NVLink, or of both links of a TPU along one axis of the
      torus.
    node: Number of chips that these links join; None for a whole TPU slice.
    network_bytes_per_second: Bandwidth for each chip between such groups.
    source: Source of the bandwidth and `flops16`, 'specification' or
      'measured'. The other numbers are from the specification.
  """

  name: str
  memory: int | None = None
  bytes_per_second: float
  flops16: float
  flops32: float
  gap_seconds: float = 0
  link_bytes_per_second: float = math.inf
  node: int | None = None
  network_bytes_per_second: float = math.inf
  source: str = 'specification'

  def flops(self, dtype: str) -> float:
    """Operations per second in a dtype."""
    return self.flops32 if dtype == 'float32' else self.flops16


# By regular expressions for JAX's names of devices. NVIDIA's cards are those on
# SXM boards, and the A100 has 80 GB; the PCIe cards are slower.
CHIPS = {
    r'NVIDIA H200': Chip(
        name='H200',
        memory=150 * 10**9,
        bytes_per_second=4.3e12,
        flops16=790e12,
        flops32=395e12,  # Half of flops16; not measured.
        gap_seconds=1.5e-6,
        link_bytes_per_second=450e9,
        node=8,
        network_bytes_per_second=50e9,
        source='measured',
    ),
    r'NVIDIA H100 80GB HBM3': Chip(
        name='H100',
        memory=85 * 10**9,
        bytes_per_second=3.35e12,
        flops16=989e12,
        flops32=494e12,
        gap_seconds=1.5e-6,
        link_bytes_per_second=450e9,
        node=8,
        network_bytes_per_second=50e9,
    ),
    r'NVIDIA A100-SXM4-80GB': Chip(
        name='A100',
        memory=85 * 10**9,
        bytes_per_second=2.039e12,
        flops16=312e12,
        flops32=156e12,
        gap_seconds=2.5e-6,
        link_bytes_per_second=300e9,
        node=8,
        network_bytes_per_second=25e9,
    ),
    r'TPU v4': Chip(
        name='TPU v4',
        memory=32 * 2**30,
        bytes_per_second=1.2e12,
        flops16=275e12,
        flops32=275e12,
        gap_seconds=1e-6,
        link_bytes_per_second=90e9,
    ),
    r'TPU v5 lite|TPU v5e': Chip(
        name='TPU v5e',
        memory=16 * 2**30,
        bytes_per_second=0.819e12,
        flops16=197e12,
        flops32=197e12,
        gap_seconds=1e-6,
        link_bytes_per_second=90e9,
    ),
    r'TPU v5p?': Chip(
        name='TPU v5p',
        memory=95 * 2**30,
        bytes_per_second=2.765e12,
        flops16=459e12,
        flops32=459e12,
        gap_seconds=1e-6,
        link_bytes_per_second=180e9,
    ),
    r'TPU v6 lite|TPU v6e': Chip(
        name='TPU v6e',
        memory=32 * 2**30,
        bytes_per_second=1.64e12,
        flops16=918e12,
        flops32=918e12,
        gap_seconds=1e-6,
        link_bytes_per_second=180e9,
    ),
}


def find(device_kind: str) -> Chip | None:
  """The chip with this name in JAX; None if it is not in the table."""
  for pattern, chip in CHIPS.items():
    if re.fullmatch(pattern, device_kind):
      return chip
  return None


def named(name: str) -> Chip:
  """The chip with this `name`."""
  return next(chip for chip in CHIPS.values() if chip.name == name)
