"""Draws from categorical distributions, with one uniform number per draw."""

import jax
import jax.numpy as jnp
import numpy as np

_BLOCK = 128  # Codes of a block; the search first finds the block.
_BELOW_ONE = np.float32(1 - 2**-23)  # A product with it is always less.


@jax.named_scope('draws')  # Names its kernels in compiled programs.
def draw(logits: jax.Array, uniforms: jax.Array) -> jax.Array:
  """Draws indices by inverting the distribution: [..., K], [...] -> [...].

  Returns the first index at which the cumulative distribution exceeds the
  uniform number. This needs one random number per draw, where the usual Gumbel
  noise needs K. An index depends only on its logits and its number, so it does
  not depend on how a batch is split.

  Args:
    logits: Unnormalized log-probabilities, float[..., K]. An index whose logit
      is -inf is never drawn.
    uniforms: Numbers in [0, 1), float32[...].

  Returns:
    Indices, int32[...].
  """
  logits = logits.astype(jnp.float32)
  return invert(logits, jnp.max(logits, axis=-1), uniforms)


def invert(
    logits: jax.Array, largest: jax.Array, uniforms: jax.Array
) -> jax.Array:
  """Inverts distributions like `draw`, given the largest logits, [...]."""

  def mass(part):
    shape = largest.shape + (1,) * (part.ndim - largest.ndim)
    return jnp.exp(part - largest.reshape(shape))

  size = logits.shape[-1]
  if size <= _BLOCK:
    sums = _running_sums(mass(logits))
    return _find(sums, uniforms * sums[..., -1])
  # Find the block first, then the code in it: cumulative sums over all codes
  # take several passes over the masses, sums of blocks take one.
  padding = [(0, 0)] * (logits.ndim - 1) + [(0, -size % _BLOCK)]
  blocks = jnp.pad(logits, padding, constant_values=-jnp.inf)
  blocks = blocks.reshape(*logits.shape[:-1], -1, _BLOCK)
  in_block = jnp.sum(mass(blocks), axis=-1)
  sums = _running_sums(in_block)
  level = uniforms * sums[..., -1]
  block = _find(sums, level)
  rest = level - (_at(sums, block) - _at(in_block, block))
  within = jnp.take_along_axis(blocks, block[..., None, None], axis=-2)
  inner = _running_sums(mass(within[..., 0, :]))
  return block * _BLOCK + _find(inner, jnp.maximum(rest, 0))


def _running_sums(mass: jax.Array) -> jax.Array:
  """Sums of [..., K] up to each entry, which never decrease."""
  # One product; its sums have the same order, so that rounding never lowers
  # one below the sum before it, or raises it where the mass is 0.
  earlier = np.triu(np.ones((mass.shape[-1],) * 2, np.float32))
  return jnp.matmul(mass, earlier, precision=jax.lax.Precision.HIGHEST)


def _find(sums: jax.Array, level: jax.Array) -> jax.Array:
  """First index whose sum exceeds a level: [..., K], [...] -> int32[...]."""
  # If rounding raised the level to the total, no sum would exceed it.
  level = jnp.minimum(level, sums[..., -1] * _BELOW_ONE)
  passed = sums <= level[..., None]
  return jnp.sum(passed, axis=-1, dtype=jnp.int32)


def _at(values: jax.Array, index: jax.Array) -> jax.Array:
  """Picks one entry of the last axis: [..., K], [...] -> [...]."""
  return jnp.take_along_axis(values, index[..., None], axis=-1)[..., 0]
