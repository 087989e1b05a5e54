"""Estimates the run time of a compiled program from what it contains.

Every kernel is charged the longer of its operations at the rate that such
kernels reach and its bytes at the bandwidth of the memory, and the gap to the
next kernel. Collectives are charged their bytes at the bandwidth of the links.
Nothing overlaps. The result is an estimate, never a measurement;
docs/performance.md has the formula and says where the constants come from.
"""

from collections.abc import Iterable, Mapping
import dataclasses
import math

from rq_jax.jobs.plan.chips import Chip

# Shares of the peak that kernels of accelerators are assumed to reach.
PRODUCTS = 0.75
CONVOLUTIONS = 0.5
# Times that a sort reads and writes everything; an assumption for accelerators.
SORT_PASSES = 16

# Points (size, share of the peak), the sizes in rising order.
Curve = tuple[tuple[int, float], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kernel:
  """A kernel of a program on one device.

  Attributes:
    kind: Kind of the kernel; the kinds with rates of their own are 'products',
      'convolutions', 'weight gradients' (of convolutions) and 'sorts'.
    flops: Operations of one execution. A multiplication and an addition are
      two; kinds other than products and convolutions count each elementwise
      operation as one.
    bytes: Bytes that one execution reads and writes.
    dtype: Type of the numbers that products and convolutions multiply.
    smallest: The smallest of the three sizes of a product: rows, columns and
      summed numbers.
    by_output: Whether a product reads weights [outputs, inputs], in which those
      of an output lie together, instead of [inputs, outputs].
    times: Number of executions.
  """

  kind: str
  flops: float = 0
  bytes: float = 0
  dtype: str = 'float32'
  smallest: int = 1
  by_output: bool = False
  times: float = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collective:
  """A collective operation of a program.

  Attributes:
    kind: 'all-gather', 'all-reduce', 'reduce-scatter', 'all-to-all' or
      'collective-permute'.
    bytes: Bytes on each device of its operand or its result, whichever is
      larger.
    devices: Number of devices that take part together.
    times: Number of executions.
  """

  kind: str
  bytes: float
  devices: int
  times: float = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rates:
  """The rates that the kernels of a device reach.

  Attributes:
    peak: Operations per second of a large product, by dtype. Other dtypes have
      the rate of 'float32'.
    bytes_per_second: Bandwidth of the memory.
    products: Share of the peak by the smallest size of a product. Between two
      sizes, its logarithm is linear in that of the size.
    products_by_output: The same for weights [outputs, inputs].
    convolutions: Share of the peak.
    weight_gradients: Share of the peak, for weight gradients of convolutions.
    elementwise: Operations per second of all other kernels; infinite if only
      their bytes count.
    sort_passes: Times that a sort reads and writes everything.
    gap_seconds: Seconds from one kernel to the next.
    link_bytes_per_second: Bandwidth of a device's links for collectives.
    node: Number of devices that these links join; None for all.
    network_bytes_per_second: Bandwidth for collectives of more devices.
  """

  peak: Mapping[str, float]
  bytes_per_second: float
  products: Curve = ((1, PRODUCTS),)
  products_by_output: Curve = ((1, PRODUCTS),)
  convolutions: float = CONVOLUTIONS
  weight_gradients: float = CONVOLUTIONS
  elementwise: float = math.inf
  sort_passes: float = SORT_PASSES
  gap_seconds: float = 0
  link_bytes_per_second: float = math.inf
  node: int | None = None
  network_bytes_per_second: float = math.inf


def rates_of(chip: Chip) -> Rates:
  """The rates that are assumed for a chip of the table."""
  return Rates(
      peak={'bfloat16': chip.flops16, 'float32': chip.flops32},
      bytes_per_second=chip.bytes_per_second,
      gap_seconds=chip.gap_seconds,
      link_bytes_per_second=chip.link_bytes_per_second,
      node=chip.node,
      network_bytes_per_second=chip.network_bytes_per_second,
  )


def seconds(
    kernels: Iterable[Kernel], collectives: Iterable[Collective], rates: Rates
) -> dict[str, float]:
  """Estimated seconds by kind of kernel and of collective.

  The gaps between kernels are a kind of their own, 'gaps'. All values together
  are the estimated time of the program.
  """
  found: dict[str, float] = {}
  gaps = 0.0
  for kernel in kernels:
    busy = kernel.times * _busy(kernel, rates)
    found[kernel.kind] = found.get(kernel.kind, 0.0) + busy
    gaps += kernel.times * rates.gap_seconds
  for collective in collectives:
    busy = collective.times * _transfer(collective, rates)
    found[collective.kind] = found.get(collective.kind, 0.0) + busy
    gaps += collective.times * rates.gap_seconds
  return found | {'gaps': gaps}


def _busy(kernel: Kernel, rates: Rates) -> float:
  """Seconds of one execution, without the gap."""
  passes = rates.sort_passes if kernel.kind == 'sorts' else 1
  moving = passes * kernel.bytes / rates.bytes_per_second
  return max(kernel.flops / _flops_per_second(kernel, rates), moving)


def _flops_per_second(kernel: Kernel, rates: Rates) -> float:
  peak = rates.peak.get(kernel.dtype, rates.peak['float32'])
  if kernel.kind == 'products':
    by_output = kernel.by_output
    curve = rates.products_by_output if by_output else rates.products
    return peak * _interpolated(curve, kernel.smallest)
  shares = {
      'convolutions': rates.convolutions,
      'weight gradients': rates.weight_gradients,
  }
  share = shares.get(kernel.kind)
  return rates.elementwise if share is None else peak * share


def _interpolated(curve: Curve, size: int) -> float:
  """The share of the peak at a size; beyond the ends, that of the end."""
  below = [point for point in curve if point[0] <= size]
  above = [point for point in curve if point[0] >= size]
  if not below or not above:
    return (below[-1:] or above[:1])[0][1]
  (small, low), (large, high) = below[-1], above[0]
  if small == large:
    return low
  place = math.log(size / small) / math.log(large / small)
  return low * (high / low) ** place


def _transfer(collective: Collective, rates: Rates) -> float:
  """Seconds of one collective, whose devices form a ring."""
  devices = collective.devices
  share = {
      'all-reduce': 2 * (devices - 1) / devices,
      'collective-permute': 1.0,
  }.get(collective.kind, (devices - 1) / devices)
  inside = rates.node is None or devices <= rates.node
  rate = (
      rates.link_bytes_per_second if inside else rates.network_bytes_per_second
  )
  return share * collective.bytes / rate
