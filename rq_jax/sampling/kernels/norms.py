"""LayerNorm within kernels.

A program that reads rows block by block cannot wait for their mean. So the
kernel that writes rows also writes the moments of the blocks that its programs
compute, and a kernel that normalizes the rows combines them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
import jax.numpy as jnp

from rq_jax.models import layer_norm


class Rows(NamedTuple):
  """Rows with their moments, of blocks of columns that have equal widths.

  Attributes:
    x: The rows, [B, E].
    means: Mean of each block, float32[B, blocks].
    squares: Sum of the squared deviations from it, float32[B, blocks].
  """

  x: jax.Array
  means: jax.Array
  squares: jax.Array


class Norm(NamedTuple):
  """A LayerNorm of rows: arrays, in a kernel their refs, or their blocks.

  Attributes:
    scale: Parameter, [E].
    bias: Parameter, [E].
    means: See `Rows`.
    squares: See `Rows`.
  """

  scale: Any
  bias: Any
  means: Any
  squares: Any


def measure(x: jax.Array) -> Rows:
  """Rows with the moments of one block: [B, E] -> `Rows`.

  Reads the rows once: sums of differences from the first number are as exact as
  those from the mean, unless it lies many deviations from the mean.
  """
  values = x.astype(jnp.float32)
  start = values[:, :1]
  sums = jnp.sum(values - start, axis=1, keepdims=True)
  squares = jnp.sum(jnp.square(values - start), axis=1, keepdims=True)
  mean = sums / x.shape[1]
  return Rows(x, start + mean, jnp.maximum(squares - sums * mean, 0))


def of(rows: Rows, params: dict[str, jax.Array]) -> Norm:
  """The LayerNorm with these parameters, `scale` and `bias`, of rows."""
  return Norm(params['scale'], params['bias'], rows.means, rows.squares)


def plain(x: jax.Array, params: dict[str, jax.Array]) -> jax.Array:
  """The plain form of the LayerNorm with these parameters."""
  norm = layer_norm.LayerNorm(str(x.dtype))
  return cast(jax.Array, norm.apply({'params': params}, x))


def store_moments(refs: Sequence[Any], y: jax.Array, mask: jax.Array) -> None:
  """Writes the means and squares of a block of rows, within a kernel."""
  values = y.astype(jnp.float32)
  mean = jnp.sum(values, axis=1, keepdims=True) / values.shape[1]
  squares = jnp.sum(jnp.square(values - mean), axis=1, keepdims=True)
  for ref, moment in zip(refs, (mean, squares), strict=True):
    triton.store(ref.at[:, :], moment, mask=mask)


def specs(norm: Norm, height: int) -> Norm:
  """Blocks of the arrays for programs of `height` rows, on grid axis 0."""
  width, blocks = len(norm.scale), norm.means.shape[1]
  whole = pl.BlockSpec((width,), lambda i, j: (0,))
  padded = pl.next_power_of_2(blocks)
  by_row = pl.BlockSpec((height, padded), lambda i, j: (i, 0))
  return Norm(whole, whole, by_row, by_row)


def reader(
    rows_ref: Any, norm: Norm | None, valid: jax.Array, blocks: int
) -> Callable[[jax.Array, int], jax.Array]:
  """A function that reads some columns of the rows of a program.

  Args:
    rows_ref: The rows, [rows, E].
    norm: Refs of a LayerNorm; None to read the rows as they are.
    valid: Which rows exist, bool[rows]; the others are read as 0.
    blocks: Number of blocks with moments.

  Returns:
    A function from the first column and the number of columns to values in the
    dtype of the rows.
  """

  def read(first, count):
    columns = rows_ref.at[:, pl.ds(first, count)]
    return triton.load(columns, mask=valid[:, None], other=0)

  if norm is None:
    return read
  mean, factor = _combine(norm, valid, blocks, rows_ref.shape[1])

  def normalized(first, count):
    x = read(first, count)
    columns = pl.ds(first, count)
    scale = norm.scale[columns].astype(jnp.float32)[None]
    bias = norm.bias[columns].astype(jnp.float32)[None]
    centered = x.astype(jnp.float32) - mean[:, None]
    return (centered * (factor[:, None] * scale) + bias).astype(x.dtype)

  return normalized


def _combine(norm: Norm, valid, blocks: int, width: int):
  """Mean and reciprocal standard deviation of rows, each float32[rows]."""
  column = jnp.arange(norm.means.shape[1], dtype=jnp.int32)
  known = valid[:, None] & (column < blocks)[None]
  means = triton.load(norm.means.at[:, :], mask=known, other=0)
  squares = triton.load(norm.squares.at[:, :], mask=known, other=0)
  mean = jnp.sum(means, axis=1) / blocks
  between = jnp.where(known, jnp.square(means - mean[:, None]), 0)
  total = jnp.sum(squares + between * (width // blocks), axis=1)
  return mean, jax.lax.rsqrt(total / width + layer_norm.EPSILON)
