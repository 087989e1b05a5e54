"""Queries, keys and values of one head, and attention to them, in kernels."""

from typing import Any, NamedTuple

import jax
from jax.experimental import pallas as pl
import jax.numpy as jnp

from rq_jax.sampling.kernels import norms
from rq_jax.sampling.kernels import products
from rq_jax.sampling.kernels import tiles

# Few programs, one per head, must have many loads under way.
STAGES = 5
WARPS = 8
_STAGE = 32 * 1024  # Bytes of a stage of the pipeline.


class Heads(NamedTuple):
  """Projection of rows to queries, keys and values.

  It holds arrays, or in a kernel the refs of one head, or blocks.

  Attributes:
    kernel: [E, 3, N, E/N].
    bias: [3, N, E/N], or None.
  """

  kernel: Any
  bias: Any


class Attended(NamedTuple):
  """What rows attend to so far.

  Attributes:
    highest: Highest score, float32[rows].
    mass: Sum of exp(score - highest), float32[rows].
    total: Sum of the values times exp(score - highest), float32[rows, E/N].
  """

  highest: jax.Array
  mass: jax.Array
  total: jax.Array

  def result(self) -> jax.Array:
    """Mean of the values, weighted by a softmax of the scores."""
    return self.total / self.mass[:, None]


def specs(norm: norms.Norm, heads: Heads, height: int) -> tuple[Any, ...]:
  """Blocks of rows, their norm and one head; grid axes are rows and heads."""
  width, _, _, size = heads.kernel.shape
  kernel = pl.BlockSpec((width, 3, None, size), lambda i, n: (0, 0, n, 0))
  bias = pl.BlockSpec((3, None, size), lambda i, n: (0, n, 0))
  return (
      pl.BlockSpec((height, width), lambda i, n: (i, 0)),
      norms.specs(norm, height),
      Heads(kernel, None if heads.bias is None else bias),
  )


def project(
    x_ref: Any, norm: norms.Norm, heads: Heads, valid: jax.Array, blocks: int
) -> list[jax.Array]:
  """Query, scaled, key and value of a program's head, each [rows, E/N].

  They have the dtype of x. For the arguments, see `norms.reader`.
  """
  height, width = x_ref.shape
  size = heads.kernel.shape[2]
  parts = products.accumulate(
      norms.reader(x_ref, norm, valid, blocks),
      [lambda rows, i=i: heads.kernel[rows, i] for i in range(3)],
      summed=width,
      step=tiles.of_stage(width, height + 3 * size, x_ref.dtype, most=_STAGE),
      shape=(height, size),
  )
  if heads.bias is not None:
    biases = [heads.bias[i].astype(jnp.float32)[None] for i in range(3)]
    parts = [p + bias for p, bias in zip(parts, biases, strict=True)]
  parts[0] = parts[0] * size**-0.5
  return [p.astype(x_ref.dtype) for p in parts]


def first(query: jax.Array, key: jax.Array, value: jax.Array) -> Attended:
  """Attention of rows to one key each: [rows, E/N] three times."""
  score = _score(query, key)
  return Attended(score, jnp.ones_like(score), value.astype(jnp.float32))


def include(
    attended: Attended, query: jax.Array, key: jax.Array, value: jax.Array
) -> Attended:
  """Adds one more key and value for each row."""
  score = _score(query, key)
  highest = jnp.maximum(attended.highest, score)
  before = jnp.exp(attended.highest - highest)
  weight = jnp.exp(score - highest)
  return Attended(
      highest,
      attended.mass * before + weight,
      attended.total * before[:, None]
      + weight[:, None] * value.astype(jnp.float32),
  )


def _score(query: jax.Array, key: jax.Array) -> jax.Array:
  return jnp.sum(query.astype(jnp.float32) * key.astype(jnp.float32), axis=1)
