"""Draws from categorical distributions, one uniform number for each draw."""

import jax
import jax.numpy as jnp


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
  peak = jnp.max(logits, axis=-1, keepdims=True)
  mass = jnp.exp(logits - peak)
  # Parallel sums round so that they may step where there is no mass.
  cumulative = jnp.where(mass > 0, jnp.cumsum(mass, axis=-1), 0)
  total = jnp.max(cumulative, axis=-1, keepdims=True)
  # Rounding must not lift u * total to the total itself: no index is beyond it.
  level = jnp.minimum(uniforms[..., None] * total, jnp.nextafter(total, 0.0))
  return jnp.argmax(cumulative > level, axis=-1).astype(jnp.int32)
