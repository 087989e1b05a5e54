"""One kernel for a LayerNorm and the attention of one new position.

A program computes one head of some rows: query, key and value, and attention to
the keys of earlier positions, of which it reads no more than there are. It
writes the new key and value into the cache in place.
"""

import functools

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
import jax.numpy as jnp

from rq_jax.models import incremental
from rq_jax.sampling.kernels import costs
from rq_jax.sampling.kernels import heads as heads_lib
from rq_jax.sampling.kernels import norms
from rq_jax.sampling.kernels import tiles

_TILE = 8192  # Numbers of the keys that a program reads at a time.
_LOWEST = -1e30  # Score of a key that does not exist.


def attend(
    rows: norms.Rows,
    params: dict[str, jax.Array],
    heads: heads_lib.Heads,
    cache: incremental.Pair,
    position: jax.Array,
    *,
    interpret: bool = False,
) -> tuple[jax.Array, incremental.Pair]:
  """Attends to earlier positions and the new one: -> [B, E], and the cache.

  Args:
    rows: The new position of each sequence, before the norm.
    params: Parameters of the LayerNorm.
    heads: Projection to queries, keys and values.
    cache: Keys and values of the sequences, each [B, N, S, E/N].
    position: Index of the new position, int32[].
    interpret: Whether to run the program of the kernel with JAX, slowly.

  Returns:
    What all heads attend to, before the last projection, and the cache with the
    new position, in the memory of the given cache.
  """
  batch, count, length, size = cache[0].shape
  height = tiles.of_heads(batch, count)
  norm = norms.of(rows, params)
  cached = pl.BlockSpec((height, None, length, size), lambda i, n: (i, n, 0, 0))
  of_head = pl.BlockSpec((height, size), lambda i, n: (i, n))
  # On average over all positions, half of the keys are earlier ones.
  more = cache[0].dtype.itemsize * batch * count * size * (length + 1)
  before = len(jax.tree.leaves((rows.x, norm, heads)))  # Cache.
  attended, keys, values = pl.pallas_call(
      functools.partial(_kernel, batch=batch, blocks=norm.means.shape[1]),
      grid=(pl.cdiv(batch, height), count),
      in_specs=[
          *heads_lib.specs(norm, heads, height),
          (cached, cached),
          pl.BlockSpec((1,), lambda i, n: (0,)),
      ],
      out_specs=[of_head, cached, cached],
      out_shape=[
          jax.ShapeDtypeStruct(array.shape, array.dtype)
          for array in (rows.x, *cache)
      ],
      input_output_aliases={before: 1, before + 1: 2},
      compiler_params=triton.CompilerParams(
          num_warps=heads_lib.WARPS, num_stages=heads_lib.STAGES
      ),
      interpret=interpret,
      name='attention',
      metadata=costs.describe(
          rows.x,
          (rows.x, norm, heads, rows.x),
          flops=2 * batch * (heads.kernel.size + count * size * (length + 1)),
          more_bytes=more,
      ),
  )(rows.x, norm, heads, cache, position.reshape(1))
  return attended, (keys, values)


def plain(
    x: jax.Array,
    params: dict[str, jax.Array],
    heads: heads_lib.Heads,
    cache: incremental.Pair,
    position: jax.Array | int,
) -> tuple[jax.Array, incremental.Pair]:
  """The plain form of `attend`, of rows [B, E] without their moments."""
  x = norms.plain(x, params)
  projected = jnp.einsum('be,eknh->kbnh', x, heads.kernel)
  if heads.bias is not None:
    projected = projected + heads.bias.astype(x.dtype)[:, None]
  query, *new = projected[:, :, :, None]  # Each [B, N, 1, E/N].
  keys, values = (
      jax.lax.dynamic_update_slice_in_dim(old, part, position, axis=2)
      for old, part in zip(cache, new, strict=True)
  )
  scores = jnp.einsum(
      'bnqh,bnkh->bnqk',
      query * query.shape[-1] ** -0.5,
      keys,
      preferred_element_type=jnp.float32,
  )
  visible = jnp.arange(keys.shape[2], dtype=jnp.int32) <= position
  weights = jax.nn.softmax(
      jnp.where(visible[None, None, None], scores, _LOWEST)
  )
  attended = jnp.einsum('bnqk,bnkh->bqnh', weights.astype(x.dtype), values)
  return attended.reshape(x.shape), (keys, values)


def _kernel(
    x_ref, norm, heads, cache, position_ref, out_ref, *new, batch, blocks
):
  """One head of some rows; see `attend`."""
  height = len(x_ref)
  row = pl.program_id(0) * height + jnp.arange(height, dtype=jnp.int32)
  valid = row < batch
  position = position_ref[0]
  query, key, value = heads_lib.project(x_ref, norm, heads, valid, blocks)
  for ref, part in zip(new, (key, value), strict=True):
    triton.store(ref.at[:, position, :], part, mask=valid[:, None])
  attended = _attend_to_cache(
      heads_lib.first(query, key, value), query, cache, position, valid
  )
  out = attended.result().astype(out_ref.dtype)
  triton.store(out_ref.at[:, :], out, mask=valid[:, None])


def _attend_to_cache(attended, query, cache, position, valid):
  """Adds the keys and values before a position, a block at a time."""
  height, length, size = cache[0].shape
  step = max(_TILE // (height * size), 1)
  step = min(step, tiles.power_of_two(length, least=1, most=step))
  query = query.astype(jnp.float32)[:, None]  # [rows, 1, E/N]

  def add(index, attended):
    first = index * step
    known = first + jnp.arange(step, dtype=jnp.int32) < position
    mask = valid[:, None, None] & known[None, :, None]
    keys, values = (
        triton.load(
            ref.at[:, pl.ds(first, step), :],
            mask=jnp.broadcast_to(mask, (height, step, size)),
            other=0,
        ).astype(jnp.float32)
        for ref in cache
    )
    scores = jnp.sum(query * keys, axis=2)  # [rows, step]
    scores = jnp.where(known[None], scores, _LOWEST)
    highest = jnp.maximum(attended.highest, jnp.max(scores, axis=1))
    before = jnp.exp(attended.highest - highest)
    weights = jnp.exp(scores - highest[:, None])
    return heads_lib.Attended(
        highest,
        attended.mass * before + jnp.sum(weights, axis=1),
        attended.total * before[:, None]
        + jnp.sum(weights[:, :, None] * values, axis=1),
    )

  return jax.lax.fori_loop(0, pl.cdiv(position, step), add, attended)
