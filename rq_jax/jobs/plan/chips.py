"""Peak rates of chips, in bytes and operations per second."""

import dataclasses
import re


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
  """The peak rates of one device.

  Attributes:
    name: Name of the chip.
    bytes_per_second: Bandwidth of its memory.
    flops16: Dense operations per second in bfloat16.
    flops32: Dense operations per second in float32, at the default precision of
      JAX: TF32 on GPUs, bfloat16 on TPUs.
    source: Source of the numbers, 'specification' or 'measured'.
  """

  name: str
  bytes_per_second: float
  flops16: float
  flops32: float
  source: str = 'specification'

  def flops(self, dtype: str) -> float:
    """Operations per second in a dtype."""
    return self.flops32 if dtype == 'float32' else self.flops16


# By regular expressions for JAX's names of devices. NVIDIA's cards are those on
# SXM boards, and the A100 has 80 GB; the PCIe cards are slower.
CHIPS = {
    r'NVIDIA H200': Chip(
        name='H200',
        bytes_per_second=4.3e12,
        flops16=790e12,
        flops32=395e12,  # Half of flops16; not measured.
        source='measured',
    ),
    r'NVIDIA H100 80GB HBM3': Chip(
        name='H100',
        bytes_per_second=3.35e12,
        flops16=989e12,
        flops32=494e12,
    ),
    r'NVIDIA A100-SXM4-80GB': Chip(
        name='A100',
        bytes_per_second=2.039e12,
        flops16=312e12,
        flops32=156e12,
    ),
    r'TPU v4': Chip(
        name='TPU v4',
        bytes_per_second=1.2e12,
        flops16=275e12,
        flops32=275e12,
    ),
    r'TPU v5 lite|TPU v5e': Chip(
        name='TPU v5e',
        bytes_per_second=0.819e12,
        flops16=197e12,
        flops32=197e12,
    ),
    r'TPU v5p?': Chip(
        name='TPU v5p',
        bytes_per_second=2.765e12,
        flops16=459e12,
        flops32=459e12,
    ),
    r'TPU v6 lite|TPU v6e': Chip(
        name='TPU v6e',
        bytes_per_second=1.64e12,
        flops16=918e12,
        flops32=918e12,
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
