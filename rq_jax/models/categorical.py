"""Draws from categorical distributions, with one uniform number per draw."""

import jax
import jax.numpy as jnp

_BLOCK = 128  # Codes of a block; the search first finds the block.


@jax.named_scope('draws')  # For who reads compiled programs.
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
  mass = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
  size = mass.shape[-1]
  if size <= _BLOCK:
    sums = _running_sums(mass)
    return _find(sums, uniforms * jnp.max(sums, axis=-1))
  # Find the block first, then the code in it: cumulative sums over all codes
  # take several passes over the masses, sums of blocks take one.
  padding = [(0, 0)] * (mass.ndim - 1) + [(0, -size % _BLOCK)]
  blocks = jnp.pad(mass, padding).reshape(*mass.shape[:-1], -1, _BLOCK)
  in_block = jnp.sum(blocks, axis=-1)
  sums = _running_sums(in_block)
  level = uniforms * jnp.max(sums, axis=-1)
  block = _find(sums, level)
  rest = level - (_at(sums, block) - _at(in_block, block))
  within = jnp.take_along_axis(blocks, block[..., None, None], axis=-2)
  inner = _running_sums(within[..., 0, :])
  return block * _BLOCK + _find(inner, jnp.maximum(rest, 0))


def _running_sums(mass: jax.Array) -> jax.Array:
  # Parallel sums may, by rounding, increase where the mass is 0.
  return jnp.where(mass > 0, jnp.cumsum(mass, axis=-1), 0)


def _find(sums: jax.Array, level: jax.Array) -> jax.Array:
  """First index whose sum exceeds a level: [..., K], [...] -> int32[...]."""
  # If rounding raised the level to the total, no sum would exceed it.
  level = jnp.minimum(level, jnp.nextafter(jnp.max(sums, axis=-1), 0.0))
  passed = sums > level[..., None]
  return jax.lax.argmax(passed, passed.ndim - 1, jnp.int32)


def _at(values: jax.Array, index: jax.Array) -> jax.Array:
  """Picks one entry of the last axis: [..., K], [...] -> [...]."""
  return jnp.take_along_axis(values, index[..., None], axis=-1)[..., 0]
