"""One kernel that filters logits and draws a code from each row.

A program holds the logits of one row on the chip. It searches the thresholds of
top-k and top-p over the bits of the floats, as `filtering` does, but two bits
at a time. It draws by inverting the distribution, as `categorical` does.
"""

from collections.abc import Callable
import functools

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
import jax.numpy as jnp

from rq_jax.models import categorical
from rq_jax.sampling import filtering
from rq_jax.sampling.kernels import costs
from rq_jax.typing import Array

_BLOCK = 128  # Codes of a block; the search first finds the block.
_WARPS = 16  # 32 of 16,384 logits for each thread.


def draw(
    logits: jax.Array,
    uniforms: jax.Array,
    temperature: Array,
    top_k: Array | None = None,
    top_p: Array | None = None,
    *,
    depth: int,
    interpret: bool = False,
) -> jax.Array:
  """Draws the codes of one depth: float32[B, K], float32[B] -> int32[B].

  Args:
    logits: Unnormalized log-probabilities.
    uniforms: Numbers in [0, 1).
    temperature: Divides the logits, float32[D].
    top_k: Number of codes to keep, int32[D]; None to keep all.
    top_p: Mass of the codes to keep, float32[D]; None to keep all.
    depth: Which options to use.
    interpret: Whether to run the program of the kernel with JAX, slowly.
  """
  batch, size = logits.shape
  blocks = pl.next_power_of_2(pl.cdiv(size, _BLOCK))
  by_row = pl.BlockSpec((1,), lambda i: (i,))
  options = (temperature, top_k, top_p)
  option = pl.BlockSpec((1,), lambda i: (depth,))
  return pl.pallas_call(
      functools.partial(_kernel, size=size, blocks=blocks),
      grid=(batch,),
      in_specs=[
          pl.BlockSpec((None, size), lambda i: (i, 0)),
          by_row,
          *(None if x is None else option for x in options),
      ],
      out_specs=by_row,
      out_shape=jax.ShapeDtypeStruct((batch,), jnp.int32),
      compiler_params=triton.CompilerParams(num_warps=_WARPS, num_stages=1),
      interpret=interpret,
      name='draws',
      metadata=costs.describe(logits, (logits, uniforms, uniforms)),
  )(logits, uniforms, *options)


def plain(
    logits: jax.Array,
    uniforms: jax.Array,
    temperature: Array,
    top_k: Array | None = None,
    top_p: Array | None = None,
    *,
    depth: int,
) -> jax.Array:
  """The plain form of `draw`."""
  logits = logits / temperature[depth]
  if top_k is not None:
    logits = filtering.keep_top_k(logits, top_k[depth])
  if top_p is not None:
    logits = filtering.keep_top_p(logits, top_p[depth])
  return categorical.draw(logits, uniforms)


def _kernel(
    logits_ref,
    uniform_ref,
    temperature_ref,
    k_ref,
    p_ref,
    out_ref,
    *,
    size,
    blocks,
):
  """Draws one code; see `draw`."""
  index = _count(blocks)[:, None] * _BLOCK + _count(_BLOCK)[None]
  known = index < size
  logits = triton.load(logits_ref.at[index], mask=known, other=-jnp.inf)
  logits = logits / temperature_ref[0]
  if k_ref is not None:
    logits = _keep_top_k(logits, jnp.minimum(k_ref[0], size))
  if p_ref is not None:
    logits = _keep_top_p(logits, p_ref[0])
  mass = jnp.exp(logits - jnp.max(logits))
  out_ref[0] = _invert(mass, uniform_ref[0])


def _keep_top_k(logits: jax.Array, k: jax.Array) -> jax.Array:
  keys = filtering.ordered_keys(logits)

  def enough(threshold):
    return jnp.sum((keys >= threshold).astype(jnp.int32)) >= k

  return jnp.where(keys >= _largest(enough), logits, -jnp.inf)


def _keep_top_p(logits: jax.Array, p: jax.Array) -> jax.Array:
  keys = filtering.ordered_keys(logits)
  mass = jnp.exp(logits - jnp.max(logits))
  needed = p * jnp.sum(mass)

  def enough(threshold):
    return jnp.sum(jnp.where(keys >= threshold, mass, 0)) >= needed

  kept = (keys >= _largest(enough)) | (p >= 1)
  return jnp.where(kept, logits, -jnp.inf)


def _largest(enough: Callable[[jax.Array], jax.Array]) -> jax.Array:
  """The largest uint32 for which `enough` is true, found two bits at a time.

  `enough` must hold at 0 and, once false, stay false as the number grows.
  """

  def set_bits(index, found):
    shift = jnp.uint32(30) - 2 * index.astype(jnp.uint32)
    steps = [
        enough(found | (jnp.uint32(bits) << shift)).astype(jnp.uint32)
        for bits in (1, 2, 3)
    ]
    return found | ((steps[0] + steps[1] + steps[2]) << shift)

  return jax.lax.fori_loop(0, 16, set_bits, jnp.uint32(0))


def _invert(mass: jax.Array, uniform: jax.Array) -> jax.Array:
  """First code whose running sum exceeds its level; see `categorical.draw`."""
  blocks = len(mass)
  if blocks == 1:
    sums = _running_sums(jnp.sum(mass, axis=0))
    return _find(sums, uniform * jnp.max(sums))
  in_block = jnp.sum(mass, axis=1)
  sums = _running_sums(in_block)
  level = uniform * jnp.max(sums)
  block = _find(sums, level)
  chosen = _count(blocks) == block
  before = jnp.sum(jnp.where(chosen, sums, 0)) - jnp.sum(
      jnp.where(chosen, in_block, 0)
  )
  within = jnp.sum(jnp.where(chosen[:, None], mass, 0), axis=0)
  rest = jnp.maximum(level - before, 0)
  return block * _BLOCK + _find(_running_sums(within), rest)


def _running_sums(mass: jax.Array) -> jax.Array:
  # Parallel sums may, by rounding, increase where the mass is 0.
  return jnp.where(mass > 0, jnp.cumsum(mass, axis=0), 0)


def _find(sums: jax.Array, level: jax.Array) -> jax.Array:
  """First index whose sum exceeds a level: [n], [] -> int32[]."""
  # If rounding raised the level to the total, no sum would exceed it.
  level = jnp.minimum(level, jnp.nextafter(jnp.max(sums), 0.0))
  passed = (sums > level).astype(jnp.int32)
  return jax.lax.argmax(passed, 0, jnp.int32)


def _count(size: int) -> jax.Array:
  return jnp.arange(size, dtype=jnp.int32)
