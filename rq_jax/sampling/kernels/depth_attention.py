"""One kernel for a LayerNorm and attention within a code stack.

A stack has few codes, so the keys and values of each depth are arrays of their
own, which no cache has to hold and no depth has to copy.
"""

from collections.abc import Sequence
import functools

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
import jax.numpy as jnp

from rq_jax.sampling.kernels import attention
from rq_jax.sampling.kernels import costs
from rq_jax.sampling.kernels import heads as heads_lib
from rq_jax.sampling.kernels import norms
from rq_jax.sampling.kernels import tiles

# Keys and values of one depth, each [B, E].
Pair = tuple[jax.Array, jax.Array]


def attend(
    rows: norms.Rows,
    params: dict[str, jax.Array],
    heads: heads_lib.Heads,
    earlier: Sequence[Pair],
    *,
    interpret: bool = False,
) -> tuple[jax.Array, Pair]:
  """Attends to earlier depths and the new one: -> [B, E], and its pair.

  Args:
    rows: The new depth of each stack, before the norm.
    params: Parameters of the LayerNorm.
    heads: Projection to queries, keys and values.
    earlier: Keys and values of the depths before.
    interpret: Whether to run the program of the kernel with JAX, slowly.
  """
  batch = len(rows.x)
  _, _, count, size = heads.kernel.shape
  height = tiles.of_heads(batch, count)
  norm = norms.of(rows, params)
  head = pl.BlockSpec((height, size), lambda i, n: (i, n))
  attended, key, value = pl.pallas_call(
      functools.partial(_kernel, batch=batch, blocks=norm.means.shape[1]),
      grid=(pl.cdiv(batch, height), count),
      in_specs=[
          *heads_lib.specs(norm, heads, height),
          [(head, head) for _ in earlier],
      ],
      out_specs=[head] * 3,
      out_shape=[jax.ShapeDtypeStruct(rows.x.shape, rows.x.dtype)] * 3,
      compiler_params=triton.CompilerParams(
          num_warps=heads_lib.WARPS, num_stages=heads_lib.STAGES
      ),
      interpret=interpret,
      name='depth_attention',
      metadata=costs.describe(
          rows.x,
          (rows.x, norm, heads, list(earlier), [rows.x] * 3),
          flops=2 * batch * heads.kernel.size,
      ),
  )(rows.x, norm, heads, list(earlier))
  return attended, (key, value)


def plain(
    x: jax.Array,
    params: dict[str, jax.Array],
    heads: heads_lib.Heads,
    earlier: Sequence[Pair],
) -> tuple[jax.Array, Pair]:
  """The plain form of `attend`, of rows [B, E] without their moments."""
  _, _, count, size = heads.kernel.shape
  shape = (len(x), count, 1, size)
  empty = jnp.zeros_like(x)
  keys, values = (
      jnp.concatenate([part.reshape(shape) for part in parts], axis=2)
      for parts in zip(*earlier, (empty, empty), strict=True)
  )
  attended, cache = attention.plain(
      x, params, heads, (keys, values), len(earlier)
  )
  key, value = (part[:, :, -1].reshape(x.shape) for part in cache)
  return attended, (key, value)


def _kernel(x_ref, norm, heads, earlier, out_ref, *new, batch, blocks):
  """One head of some rows; see `attend`."""
  height = len(x_ref)
  row = pl.program_id(0) * height + jnp.arange(height, dtype=jnp.int32)
  valid = row < batch
  mask = valid[:, None]
  query, key, value = heads_lib.project(x_ref, norm, heads, valid, blocks)
  attended = heads_lib.first(query, key, value)
  for pair in earlier:
    read = (triton.load(ref.at[:, :], mask=mask, other=0) for ref in pair)
    attended = heads_lib.include(attended, query, *read)
  out = attended.result().astype(out_ref.dtype)
  for ref, part in zip((out_ref, *new), (out, key, value), strict=True):
    triton.store(ref.at[:, :], part, mask=mask)
