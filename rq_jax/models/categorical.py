"""Draws from categorical distributions, one uniform number for each draw."""

import jax
import jax.numpy as jnp

_BLOCK = 128  # Codes whose masses are summed before the search.


def draw(logits: jax.Array, uniforms: jax.Array) -> jax.Array:
  """Index where the distribution function passes u: [..., K], [...] -> [...].

  The inverse of the cumulative distribution needs one random number for a draw,
  where the usual Gumbel noise needs K. What is drawn depends on the logits and
  on the number alone, so that it cannot depend on how a batch is cut.

  Args:
    logits: Unnormalized log-probabilities, float[..., K]; -inf is never drawn.
    uniforms: Numbers in [0, 1), float32[...].

  Returns:
    Indices, int32[...].
  """
  logits = logits.astype(jnp.float32)
  mass = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
  size = mass.shape[-1]
  if size <= _BLOCK:
    return _find(mass, uniforms * _total(mass))
  # First the block, then the code in it: running sums of all would take several
  # passes over them, where sums of blocks take one.
  padding = [(0, 0)] * (mass.ndim - 1) + [(0, -size % _BLOCK)]
  blocks = jnp.pad(mass, padding).reshape(*mass.shape[:-1], -1, _BLOCK)
  sums = jnp.sum(blocks, axis=-1)
  level = uniforms * _total(sums)
  block = _find(sums, level)
  before = _at(jnp.cumsum(sums, axis=-1) - sums, block)
  within = jnp.take_along_axis(blocks, block[..., None, None], axis=-2)
  rest = jnp.maximum(level - before, 0)
  return block * _BLOCK + _find(within[..., 0, :], rest)


def _running_sums(mass: jax.Array) -> jax.Array:
  # Parallel sums round so that they may step where there is no mass.
  return jnp.where(mass > 0, jnp.cumsum(mass, axis=-1), 0)


def _total(mass: jax.Array) -> jax.Array:
  return jnp.max(_running_sums(mass), axis=-1)


def _find(mass: jax.Array, level: jax.Array) -> jax.Array:
  """Index where running sums pass a level: [..., K], [...] -> int32[...]."""
  sums = _running_sums(mass)
  total = jnp.max(sums, axis=-1)
  # Rounding must not lift the level to the total: no index is beyond it.
  level = jnp.minimum(level, jnp.nextafter(total, 0.0))
  return jnp.argmax(sums > level[..., None], axis=-1).astype(jnp.int32)


def _at(values: jax.Array, index: jax.Array) -> jax.Array:
  """Picks one of the last axis: [..., K], [...] -> [...]."""
  return jnp.take_along_axis(values, index[..., None], axis=-1)[..., 0]
