"""Times functions on a device, and measures the rates of the device."""

from collections.abc import Callable
import dataclasses
import math
import resource
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

from rq_jax import compilation
from rq_jax.jobs.plan.chips import Chip

# Side of the timed square product, and bytes of the timed copy: large enough to
# hide the time of a launch, and small enough to be quick.
_SIDE = {'cpu': 2048}
_COPY = {'cpu': 2**28}
_REPEATS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
  """The times of repeated calls of a function.

  Attributes:
    first: Seconds of the first call, which compiles.
    compiler: Seconds of the compiler in the first call; few if the program came
      from a cache.
    seconds: Seconds of each call after the first.
    cpu_seconds: CPU seconds of each call after the first, over all threads of
      the process.
  """

  first: float
  compiler: float
  seconds: tuple[float, ...]
  cpu_seconds: tuple[float, ...]

  @property
  def median(self) -> float:
    """Median seconds of a call."""
    return statistics.median(self.seconds)

  @property
  def cpu_median(self) -> float:
    """Median CPU seconds of a call."""
    return statistics.median(self.cpu_seconds)

  @property
  def compilation(self) -> float:
    """Seconds that the first call took longer than the median."""
    return max(self.first - self.median, 0.0)


def measure(fn: Callable[[], Any], repeats: int) -> Timing:
  """Calls a function once and then `repeats` times; waits for its results."""
  with compilation.clock() as compiler:
    first, _ = _call(fn)
  seconds, cpu_seconds = zip(*(_call(fn) for _ in range(repeats)))
  return Timing(
      first=first,
      compiler=compiler.seconds,
      seconds=seconds,
      cpu_seconds=cpu_seconds,
  )


def _call(fn: Callable[[], Any]) -> tuple[float, float]:
  """Calls a function; returns its seconds and its CPU seconds."""
  start, cpu_start = time.perf_counter(), time.process_time()
  jax.block_until_ready(fn())
  return time.perf_counter() - start, time.process_time() - cpu_start


def calibrate(
    dtype: str, *, side: int | None = None, copied: int | None = None
) -> Chip:
  """The first device with measured rates, from its fastest product and copy.

  Args:
    dtype: Type of the product; the rate of the other type is NaN.
    side: Side of both square matrices; None for the default of the platform.
    copied: Bytes of the copy, which are read and written once; None for the
      default of the platform.
  """
  device = jax.devices()[0]
  side = side or _SIDE.get(device.platform, 8192)
  copied = copied or _COPY.get(device.platform, 2**30)
  square = _ones((side, side), dtype)
  product = jax.jit(jnp.matmul)
  flops = 2 * side**3 / _fastest(lambda: product(square, square))
  # In place, because on CPUs fresh memory costs more time than the copy.
  negate = jax.jit(jnp.negative, donate_argnums=0)
  held = [_ones((copied // 4,), 'float32')]

  def copy():
    held[0] = negate(held[0])
    return held[0]

  rate = 2 * copied / _fastest(copy)
  return Chip(
      name=device.device_kind,
      bytes_per_second=rate,
      flops16=math.nan if dtype == 'float32' else flops,
      flops32=flops if dtype == 'float32' else math.nan,
      source='measured in this run',
  )


def _ones(shape: tuple[int, ...], dtype: str) -> jax.Array:
  return jax.jit(lambda: jnp.ones(shape, dtype))()


def _fastest(fn: Callable[[], Any]) -> float:
  return min(measure(fn, _REPEATS).seconds)


def peak_memory() -> dict[str, int | str]:
  """Peak memory so far: 'bytes', and 'of', either 'device' or 'process'."""
  stats = jax.devices()[0].memory_stats() or {}
  if 'peak_bytes_in_use' in stats:
    return {'bytes': stats['peak_bytes_in_use'], 'of': 'device'}
  kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return {'bytes': kibibytes * 1024, 'of': 'process'}
