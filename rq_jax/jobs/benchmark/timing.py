"""Times functions on a device, and the device itself."""

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

# Side of the square product and bytes of the copy that are timed: long enough
# to be no matter of launching, short enough to be no matter of patience.
_SIDE = {'cpu': 2048}
_COPY = {'cpu': 2**28}
_REPEATS = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
  """How long a function took, called again and again.

  Attributes:
    first: Seconds of the first call, which compiles.
    compiler: Seconds of it that the compiler took; little if it was cached.
    seconds: Of each call after it.
    cpu_seconds: The same of all threads of the process together.
  """

  first: float
  compiler: float
  seconds: tuple[float, ...]
  cpu_seconds: tuple[float, ...]

  @property
  def median(self) -> float:
    """Seconds of a call."""
    return statistics.median(self.seconds)

  @property
  def cpu_median(self) -> float:
    """CPU seconds of a call."""
    return statistics.median(self.cpu_seconds)

  @property
  def compilation(self) -> float:
    """Seconds that the first call took longer."""
    return max(self.first - self.median, 0.0)


def measure(fn: Callable[[], Any], repeats: int) -> Timing:
  """Calls a function once and then `repeats` times, to the end of its work."""
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
  """Seconds, and those of all threads."""
  start, cpu_start = time.perf_counter(), time.process_time()
  jax.block_until_ready(fn())
  return time.perf_counter() - start, time.process_time() - cpu_start


def calibrate(
    dtype: str, *, side: int | None = None, copied: int | None = None
) -> Chip:
  """The first device as it is, by its fastest product and copy.

  Args:
    dtype: Of the product; nothing is known of the other afterwards.
    side: Of both square matrices; chosen by the platform if None.
    copied: Bytes that are read and written, each once; the same.
  """
  device = jax.devices()[0]
  side = side or _SIDE.get(device.platform, 8192)
  copied = copied or _COPY.get(device.platform, 2**30)
  square = _ones((side, side), dtype)
  product = jax.jit(jnp.matmul)
  flops = 2 * side**3 / _fastest(lambda: product(square, square))
  # In place: memory that is new to the process costs CPUs more than the copy.
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
  """The most memory held so far: 'bytes', and 'of': 'device' or 'process'."""
  stats = jax.devices()[0].memory_stats() or {}
  if 'peak_bytes_in_use' in stats:
    return {'bytes': stats['peak_bytes_in_use'], 'of': 'device'}
  kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return {'bytes': kibibytes * 1024, 'of': 'process'}
