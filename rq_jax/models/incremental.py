"""Runs causal stacks on new positions, given the keys and values before them.

`extend` keeps keys and values of long sequences in caches, which it writes in
place; `append` keeps those of few positions apart, without any copy.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rq_jax.models import transformer
from rq_jax.typing import PyTree

# Keys and values of one layer, each [B, N, S, E/N]: grouped by head.
Pair = tuple[jax.Array, jax.Array]
# Those of all layers: a pair for each, or one array [L, 2, B, N, S, E/N], which
# a GPU writes in one kernel instead of two for each layer. CPUs would copy the
# parts of one array.
Caches = list[Pair] | jax.Array


def empty_caches(
    stack: transformer.Stack, batch: int, length: int, *, joint: bool = False
) -> Caches:
  """Empty caches for sequences of `length` positions.

  Args:
    stack: The stack.
    batch: Number of sequences, B.
    length: Number of positions, S.
    joint: Whether all layers share one array.
  """
  block = transformer.Block(**dict(stack.block))
  shape = (batch, block.heads, length, block.width // block.heads)
  dtype = jnp.dtype(block.dtype)
  if joint:
    return jnp.zeros((stack.layers, 2, *shape), dtype)
  zeros = jnp.zeros(shape, dtype)
  return [(zeros, zeros) for _ in range(stack.layers)]


def extend(
    stack: transformer.Stack,
    params: list[PyTree],
    x: jax.Array,
    caches: Caches,
    start: jax.Array | int,
    *,
    length: int | None = None,
) -> tuple[jax.Array, Caches]:
  """Runs new positions through all blocks; each attends to all up to itself.

  Args:
    stack: The stack.
    params: Parameters of each block, from `transformer.unstack`.
    x: The new positions, [B, S', E].
    caches: From `empty_caches`, or from the call for the positions before.
    start: Index of the first new position.
    length: Number of positions that may be read, from the first one on, if it
      is known when the program is compiled; else all of them.

  Returns:
    The output, [B, S', E], and the caches with the new positions added.
  """
  if isinstance(caches, jax.Array):
    return _extend_jointly(stack, params, x, caches, start, length)
  extended = []
  for block_params, cache in zip(params, caches, strict=True):

    def attend(projected, cache=cache):
      q, *new = _by_head(projected)
      k, v = (_written(old, one, start) for old, one in zip(cache, new))
      return _attend(q, k[:, :, :length], v[:, :, :length], start), (k, v)

    x, cache = _refine(stack, block_params, x, attend)
    extended.append(cache)
  return x, extended


def _extend_jointly(
    stack: transformer.Stack,
    params: list[PyTree],
    x: jax.Array,
    caches: jax.Array,
    start: jax.Array | int,
    length: int | None,
) -> tuple[jax.Array, jax.Array]:
  """Does what `extend` does with one array for all layers."""
  place = _replaced if x.shape[1] == 1 else _written
  kept = []
  for i, block_params in enumerate(params):

    def attend(projected, i=i):
      q, *new = _by_head(projected)
      k, v = (
          place(caches[i, n, :, :, :length], new[n], start) for n in range(2)
      )
      return _attend(q, k, v, start), projected

    x, projected = _refine(stack, block_params, x, attend)
    x = _stored(x, i)
    kept.append(projected)
  # Without this barrier, XLA could not know that all layers have been read.
  x, kept = jax.lax.optimization_barrier((x, kept))
  new = jnp.stack([jnp.stack(_by_head(projected)[1:]) for projected in kept])
  return x, jax.lax.dynamic_update_slice_in_dim(caches, new, start, axis=4)


def append(
    stack: transformer.Stack,
    params: list[PyTree],
    x: jax.Array,
    earlier: Sequence[list[jax.Array]],
) -> tuple[jax.Array, list[jax.Array]]:
  """Runs one new position through all blocks, after few earlier ones.

  Args:
    stack: The stack.
    params: Parameters of each block, from `transformer.unstack`.
    x: The new position, [B, 1, E].
    earlier: The second result of the call for each earlier position.

  Returns:
    The output, [B, 1, E], and what each block projected: its queries, keys and
    values, [B, 1, 3, N, E/N].
  """
  kept = []
  for i, block_params in enumerate(params):

    def attend(projected, i=i):
      q, k, v = _by_head(projected)
      if not earlier:  # The position sees only itself.
        return v, projected
      known = [_by_head(position[i])[1:] for position in earlier]
      k, v = (_joined(parts) for parts in zip(*known, (k, v)))
      return _attend(q, k, v, len(known)), projected

    x, projected = _refine(stack, block_params, x, attend)
    x = _stored(x, i)
    kept.append(projected)
  return x, kept


def _refine(
    stack: transformer.Stack, params: PyTree, x: jax.Array, attend: Callable
) -> tuple[jax.Array, Any]:
  """Runs a block that attends with a function, and what this wants to keep."""

  def run(block, x):
    attended, kept = attend(block.attention.project(block.norm1(x)))
    x = x + block.attention.out(jnp.swapaxes(attended, 1, 2))
    # In float32, a GPU computes the activation in one kernel.
    return x + block.mlp(x, gelu_dtype='float32'), kept

  block = transformer.Block(**dict(stack.block))
  return block.apply({'params': params}, x, method=run)


def _stored(x: jax.Array, layer: int) -> jax.Array:
  """The output of a layer, which every third layer stores."""
  # XLA fuses the addition of residuals with the norms that read them, so that
  # each norm would add up the outputs of many layers again.
  return jax.lax.optimization_barrier(x) if layer % 3 == 2 else x


def _by_head(projected: jax.Array) -> list[jax.Array]:
  """Queries, keys and values: [B, S', 3, N, E/N] -> 3 [B, N, S', E/N]."""
  return [jnp.swapaxes(projected[:, :, i], 1, 2) for i in range(3)]


def _written(
    old: jax.Array, new: jax.Array, start: jax.Array | int
) -> jax.Array:
  """Writes positions [B, N, S', E/N] into an array [B, N, S, E/N]."""
  return jax.lax.dynamic_update_slice_in_dim(old, new, start, axis=2)


def _replaced(
    old: jax.Array, new: jax.Array, start: jax.Array | int
) -> jax.Array:
  """The result of `_written` for one position, as its readers compute it."""
  return jnp.where(_positions(old.shape[2]) == start, new, old)


def _joined(parts: Sequence[jax.Array]) -> jax.Array:
  """Joins positions, each [B, N, 1, E/N], as readers compute it."""
  # A GPU fuses this with the attention, but not a concatenation.
  joined = parts[-1]
  for i, part in enumerate(parts[:-1]):
    joined = jnp.where(_positions(len(parts)) == i, part, joined)
  return joined


def _positions(length: int) -> jax.Array:
  return jnp.arange(length, dtype=jnp.int32)[None, None, :, None]


@jax.named_scope('attention')  # For who reads compiled programs.
def _attend(
    q: jax.Array, k: jax.Array, v: jax.Array, start: jax.Array | int
) -> jax.Array:
  """Attends from positions `start` on: [B, N, S', E/N], [B, N, S, E/N]."""
  queries = start + jnp.arange(q.shape[2], dtype=jnp.int32)[:, None]
  keys = jnp.arange(k.shape[2], dtype=jnp.int32)[None, :]
  q = q * q.shape[-1] ** -0.5
  scores = transformer.score('bnqh,bnkh->bnqk', q, k)
  weights = transformer.weigh(scores, keys <= queries).astype(v.dtype)
  return jnp.einsum('bnqk,bnkh->bnqh', weights, v)
