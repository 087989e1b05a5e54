"""Gradients and sums of a large batch, computed from pieces of the batch.

Piece i of n holds the examples i, i + n, i + 2n, ... of the batch. A batch that
is split over devices is therefore split into pieces on each device.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rq_jax.typing import Metrics, PyTree


def split(arrays: PyTree, pieces: int) -> PyTree:
  """Splits a batch into pieces: arrays [B, ...] -> [pieces, B/pieces, ...]."""

  def parts(x):
    x = x.reshape(-1, pieces, *x.shape[1:])
    return nn.spmd.with_logical_constraint(
        jnp.swapaxes(x, 0, 1), (None, 'batch', *(None,) * (x.ndim - 2))
    )

  return jax.tree.map(parts, arrays)


def join(arrays: PyTree) -> PyTree:
  """Joins pieces to the batch: arrays [n, B/n, ...] -> [B, ...]."""

  def whole(x):
    x = jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])
    return nn.spmd.with_logical_constraint(
        x, ('batch', *(None,) * (x.ndim - 1))
    )

  return jax.tree.map(whole, arrays)


def sums(fn: Callable[[PyTree], PyTree], arrays: PyTree, pieces: int) -> PyTree:
  """Adds up what a function returns for each piece of a batch.

  Only one piece is computed at a time.

  Args:
    fn: Piece of `arrays` -> a tree of sums over its examples.
    arrays: The batch: arrays [B, ...].
    pieces: Number of pieces; must divide B.
  """
  if pieces == 1:
    return fn(arrays)
  found = jax.lax.map(fn, split(arrays, pieces))
  return jax.tree.map(lambda x: jnp.sum(x, axis=0), found)


def mean_gradients(
    fn: Callable[..., tuple[PyTree, Metrics, Any]],
    params: PyTree,
    arrays: PyTree,
    rng: jax.Array,
) -> tuple[PyTree, Metrics, Any]:
  """Gradients and metrics of a batch: the means of those of its pieces.

  Only one piece is computed at a time. Gradients are added up in the dtype of
  the parameters.

  Args:
    fn: (piece, key) -> gradients of `params`, metrics, and a tree of arrays to
      keep. Gradients and metrics must be means over the examples of the piece.
    params: The parameters.
    arrays: The pieces, from `split`: arrays [n, B/n, ...].
    rng: Key for randomness such as dropout. Each piece gets another key.

  Returns:
    The mean gradients, the mean metrics, and the kept arrays [n, ...].
  """
  count = len(jax.tree.leaves(arrays)[0])

  def add(total, piece):
    index, arrays = piece
    grads, metrics, kept = fn(arrays, jax.random.fold_in(rng, index))
    return jax.tree.map(jnp.add, total, grads), (metrics, kept)

  total, (metrics, kept) = jax.lax.scan(
      add,
      jax.tree.map(jnp.zeros_like, params),
      (jnp.arange(count, dtype=jnp.int32), arrays),
  )
  return (
      jax.tree.map(lambda x: x / count, total),
      jax.tree.map(lambda x: jnp.mean(x, axis=0), metrics),
      kept,
  )
