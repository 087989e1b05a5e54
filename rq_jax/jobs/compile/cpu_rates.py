"""Measures the rates of a CPU that estimates of run times need.

All rates are per second of CPU time, over all threads, because other programs
often use the same cores. An estimate from them is in CPU seconds, too.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rq_jax import compiler_options
from rq_jax.jobs import timing
from rq_jax.jobs.compile import estimate
from rq_jax.jobs.compile import hlo
from rq_jax.jobs.compile import kinds
from rq_jax.models import few_rows

# The smallest sizes of the measured products, and their other two sizes.
_ROWS = (1, 8, 32, 128, 512)
_WIDTH = 512
# Weights in turn, 96 MiB of them, so that no cache holds them all.
_WEIGHTS = 24
_SIDE, _CHANNELS, _IMAGES = 64, 64, 8
_CHAIN = 200


def measure(repeats: int, *, scale: int = 1) -> estimate.Rates:
  """The rates of this CPU, in float32.

  Args:
    repeats: Number of timed calls of each function; the fastest counts.
    scale: Divides the sizes of all arrays, for tests.
  """

  def seconds(fn: Callable[[], Any]) -> float:
    return min(timing.measure(fn, repeats).cpu_seconds)

  peak = _product_rate(seconds, 2048 // scale)
  convolution, gradient = _convolution_rates(seconds, _SIDE // scale)
  by_input, by_output = (
      tuple(
          (rows, _chain_rate(seconds, rows, _WIDTH // scale, flag) / peak)
          for rows in _ROWS
      )
      for flag in (False, True)
  )
  return estimate.Rates(
      peak={'float32': peak},
      bytes_per_second=_copy_rate(seconds, 2**28 // scale**2),
      products=by_input,
      products_by_output=by_output,
      convolutions=convolution / peak,
      weight_gradients=gradient / peak,
      elementwise=_elementwise_rate(seconds, 2048 // scale),
      sort_passes=1,
      gap_seconds=_gap(seconds),
  )


def described(rates: estimate.Rates) -> list[tuple[str, float, str]]:
  """The rates as rows of a table: name, value and unit."""
  peak = rates.peak['float32']
  products = [
      (f'products, rows {rows}, weights {layout}', share * peak)
      for layout, curve in (
          ('[inputs, outputs]', rates.products),
          ('[outputs, inputs]', rates.products_by_output),
      )
      for rows, share in curve
  ]
  flops = [
      ('large product', peak),
      *products,
      ('convolution', rates.convolutions * peak),
      ('weight gradient of a convolution', rates.weight_gradients * peak),
      ('elementwise operations', rates.elementwise),
  ]
  return [
      ('copy', rates.bytes_per_second / 1e9, 'GB per CPU second'),
      ('gap', 1e6 * rates.gap_seconds, 'CPU us'),
      *((name, rate / 1e9, 'GFLOP per CPU second') for name, rate in flops),
  ]


def _product_rate(seconds, side: int) -> float:
  square = jnp.ones((side, side), jnp.float32)
  multiply = jax.jit(jnp.matmul)
  return 2 * side**3 / seconds(lambda: multiply(square, square))


def _copy_rate(seconds, size: int) -> float:
  # In place, because on CPUs fresh memory costs more time than the copy.
  negate = jax.jit(jnp.negative, donate_argnums=0)
  held = [jnp.ones(size // 4, jnp.float32)]

  def copy():
    held[0] = negate(held[0])
    return held[0]

  return 2 * size / seconds(copy)


def _chain_rate(seconds, rows: int, width: int, by_output: bool) -> float:
  """Operations per second of the products of an MLP that few rows pass."""
  shapes = [(width, 4 * width), (4 * width, width)] * (_WEIGHTS // 2)
  weights = [
      few_rows.lay_out(
          jnp.full(shape, 1 / width, jnp.float32), 1, outputs_first=by_output
      )
      for shape in shapes
  ]

  def multiply(x, weights):
    for weight in weights:
      x = jax.nn.relu(weight.multiply(x))
    return x

  run = compiler_options.Jitted(multiply, compiler_options.few_rows)
  x = jnp.ones((rows, width), jnp.float32)
  flops = _WEIGHTS * 2 * rows * 4 * width**2
  return flops / seconds(lambda: run(x, weights))


def _convolution_rates(seconds, side: int) -> tuple[float, float]:
  """Operations per second of a 3x3 convolution and of its weight gradient."""
  x = jnp.ones((_IMAGES, side, side, _CHANNELS), jnp.float32)
  kernel = jnp.ones((3, 3, _CHANNELS, _CHANNELS), jnp.float32)

  def convolve(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )

  def gradient(x, kernel, outputs):
    return jax.vjp(lambda k: convolve(x, k), kernel)[1](outputs)[0]

  forward, backward = (
      compiler_options.Jitted(function, compiler_options.convolutions)
      for function in (convolve, gradient)
  )
  flops = 2 * x.size * 9 * _CHANNELS
  return (
      flops / seconds(lambda: forward(x, kernel)),
      flops / seconds(lambda: backward(x, kernel, x)),
  )


def _elementwise_rate(seconds, side: int) -> float:
  """Operations per second of activation and dropout, as they are counted."""
  x = jnp.ones((side, side), jnp.float32)

  @jax.jit
  def activate(x, key):
    kept = jax.random.bernoulli(key, 0.9, x.shape)
    return jnp.where(kept, jax.nn.gelu(x, approximate=False), 0)

  key = jax.random.key(0)
  text = activate.lower(x, key).compile().as_text() or ''
  operations = sum(
      kernel.counted.flops * kernel.counted.times
      for kernel in kinds.kernels(hlo.parse(text))
  )
  return operations / seconds(lambda: activate(x, key))


def _gap(seconds) -> float:
  """Seconds of a kernel with almost no work."""
  x = jnp.ones((8, 128), jnp.float32)

  @jax.jit
  def unrolled(x):
    for _ in range(_CHAIN):
      x = jax.lax.optimization_barrier(jnp.flip(x, axis=1) + 1)
    return x

  return seconds(lambda: unrolled(x)) / _CHAIN
