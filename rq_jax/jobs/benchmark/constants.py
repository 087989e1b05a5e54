"""Measures constants for predictions of the run time on an accelerator.

These are the share of a chip's peak that kernels reach (products of the rows of
a batch, convolutions, a sort) and the time from one kernel to the next. For a
CPU, the rates follow that estimates of compiled programs need; see `cpu_rates`.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from rq_jax.jobs import timing
from rq_jax.jobs.benchmark import sampling_times
from rq_jax.jobs.compile import cpu_rates

_CHAIN = 200  # Number of kernels that run one after the other.
_SHARE = '% of the peak'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constant:
  """A measured number.

  Attributes:
    name: The measured quantity, in words.
    value: The number, in `unit`.
    unit: Unit of the number.
  """

  name: str
  value: float
  unit: str


def run(
    dtype: str | None, repeats: int, *, scale: int | None = None
) -> list[Constant]:
  """Measures all constants on the first device.

  Args:
    dtype: Type of products and convolutions; None for
      `sampling_times.default_dtype`.
    repeats: Number of timed calls of each function.
    scale: Divides the sizes of arrays, for tests; None for the default of the
      platform.
  """
  dtype = dtype or sampling_times.default_dtype()
  sizes = dict(side=2048 // scale, copied=2**28 // scale**2) if scale else {}
  chip = timing.calibrate(dtype, **sizes)
  peak, rate = chip.flops(dtype), chip.bytes_per_second
  # On accelerators, the shapes of the paper's model of 1.4 billion parameters.
  on_cpu = jax.default_backend() == 'cpu'
  less = {'scale': scale} if scale else {}
  scale = scale or (4 if on_cpu else 1)
  rows, width, codes = 512 // scale, 1536 // scale, 16384 // scale
  side, channels = 256 // scale, 128 // scale
  chain = _chain_flops(rows, width, dtype, repeats)
  convolution = _convolution_flops(
      max(16 // scale, 1), side, channels, dtype, repeats
  )
  passes = _sort_seconds(rows, codes, repeats) * rate / (16 * rows * codes)
  found = [
      ('peak of a large product', peak / 1e12, 'TFLOP/s'),
      ('copy', rate / 1e9, 'GB/s'),
      (f'products of {rows} rows, width {width}', 100 * chain / peak, _SHARE),
      (
          f'convolution 3x3 of {side}x{side}x{channels}',
          100 * convolution / peak,
          _SHARE,
      ),
      (
          f'sort of {rows} x {codes} with indices',
          passes,
          'times reading and writing all',
      ),
      *(
          (f'from one kernel to the next, {name}', 1e6 * gap, 'us')
          for name, gap in _gaps(repeats).items()
      ),
  ]
  if on_cpu:
    found += cpu_rates.described(cpu_rates.measure(repeats, **less))
  return [Constant(name=n, value=v, unit=unit) for n, v, unit in found]


def table(found: list[Constant]) -> str:
  """The numbers as a table in Markdown."""
  rows = [f'| {c.name} | {c.value:.4g} {c.unit} |' for c in found]
  return '\n'.join(['| constant | measured |', '|---|---|', *rows])


def _chain_flops(rows: int, width: int, dtype: str, repeats: int) -> float:
  """Operations per second of MLP products that depend on each other."""
  shapes = (width, 4 * width), (4 * width, width)
  weights = [
      jax.random.normal(jax.random.key(i), shape, dtype) * shape[0] ** -0.5
      for i, shape in enumerate(shapes)
  ]
  x = jnp.ones((rows, width), dtype)

  @jax.jit
  def chain(x):
    def step(x, _):
      return jnp.tanh(jax.nn.relu(x @ weights[0]) @ weights[1]), None

    return jax.lax.scan(step, x, None, length=_CHAIN // 2)[0]

  flops = _CHAIN * 2 * rows * 4 * width**2
  return flops / _seconds(lambda: chain(x), repeats)


def _convolution_flops(
    images: int, side: int, channels: int, dtype: str, repeats: int
) -> float:
  """Operations per second of the decoder's largest convolution."""
  x = jnp.ones((images, side, side, channels), dtype)
  kernel = jnp.ones((3, 3, channels, channels), dtype)

  @jax.jit
  def convolve(x):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )

  flops = 2 * images * side**2 * 9 * channels**2
  return flops / _seconds(lambda: convolve(x), repeats)


def _sort_seconds(rows: int, codes: int, repeats: int) -> float:
  """Seconds to sort logits together with their codes."""
  logits = jax.random.normal(jax.random.key(0), (rows, codes), jnp.float32)

  @jax.jit
  def sort(logits):
    indices = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 1)
    return jax.lax.sort_key_val(logits, indices)

  return _seconds(lambda: sort(logits), repeats)


def _gaps(repeats: int) -> dict[str, float]:
  """Seconds of a kernel with almost no work, unrolled and in a loop."""
  x = jnp.ones((8, 128), jnp.float32)

  def step(x):  # The compiler cannot fuse two of these.
    return jnp.tanh(jnp.flip(jnp.cumsum(x, axis=1), axis=1))

  @jax.jit
  def unrolled(x):
    for _ in range(_CHAIN):
      x = jax.lax.optimization_barrier(step(x))
    return x

  @jax.jit
  def looped(x):
    return jax.lax.fori_loop(0, _CHAIN, lambda _, x: step(x), x)

  return {
      name: _seconds(lambda f=f: f(x), repeats) / _CHAIN
      for name, f in (('unrolled', unrolled), ('in a loop', looped))
  }


def _seconds(fn: Callable[[], Any], repeats: int) -> float:
  return timing.measure(fn, repeats).median
