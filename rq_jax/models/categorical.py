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
    sums = _running_sums(mass)
    return _find(sums, uniforms * jnp.max(sums, axis=-1))
  # First the block, then the code in it: running sums of all would take several
  # passes over them, where sums of blocks take one.
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
  # Parallel sums round so that they may step where there is no mass.
  return jnp.where(mass > 0, jnp.cumsum(mass, axis=-1), 0)


def _find(sums: jax.Array, level: jax.Array) -> jax.Array:
  """Index where running sums pass a level: [..., K], [...] -> int32[...]."""
  # Rounding must not lift the level to the total: no index is beyond it.
  level = jnp.minimum(level, jnp.nextafter(jnp.max(sums, axis=-1), 0.0))
  passed = sums > level[..., None]
  return jax.lax.argmax(passed, passed.ndim - 1, jnp.int32)


def _at(values: jax.Array, index: jax.Array) -> jax.Array:
  """Picks one of the last axis: [..., K], [...] -> [...]."""
  return jnp.take_along_axis(values, index[..., None], axis=-1)[..., 0]
