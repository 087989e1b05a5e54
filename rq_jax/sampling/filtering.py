"""Top-k and top-p filters by threshold search, without sorting."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def keep_top_k(logits: jax.Array, k: jax.Array | int) -> jax.Array:
  """Sets all but the k largest logits to -inf: float32[B, K] -> same.

  Logits equal to the k-th largest are all kept, as in the official sampler.
  """
  keys = _ordered_keys(logits)

  def enough(threshold):
    count = jnp.sum(keys >= threshold, -1, jnp.int32, keepdims=True)
    return count >= jnp.minimum(k, logits.shape[-1])

  return jnp.where(keys >= _largest(enough, keys), logits, -jnp.inf)


def keep_top_p(logits: jax.Array, p: jax.Array | float) -> jax.Array:
  """Keeps the most likely codes whose mass first reaches p, others get -inf.

  Codes as likely as the least likely one kept are kept, too. (The official
  sampler cuts ties at random places of a sort; and at p = 1 it drops the tail
  behind which its float32 sum rounds to 1. This one keeps everything then.)

  Args:
    logits: float32[B, K]; -inf counts as absent.
    p: In (0, 1].
  """
  keys = _ordered_keys(logits)
  mass = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
  total = jnp.sum(mass, axis=-1, keepdims=True)

  def enough(threshold):
    kept = jnp.sum(jnp.where(keys >= threshold, mass, 0), -1, keepdims=True)
    return kept >= p * total

  kept = (keys >= _largest(enough, keys)) | (p >= 1)
  return jnp.where(kept, logits, -jnp.inf)


def _largest(
    enough: Callable[[jax.Array], jax.Array], keys: jax.Array
) -> jax.Array:
  """The largest threshold that lets enough through, found bit by bit.

  `enough` must hold at 0 and, once false, stay false as the threshold grows.
  """

  def set_bit(progress, _):
    bit, threshold = progress
    candidate = threshold | bit
    threshold = jnp.where(enough(candidate), candidate, threshold)
    return (bit >> jnp.uint32(1), threshold), None

  highest_bit = jnp.uint32(1) << jnp.uint32(31)
  start = (highest_bit, jnp.zeros((*keys.shape[:-1], 1), jnp.uint32))
  (_, threshold), _ = jax.lax.scan(set_bit, start, None, length=32)
  return threshold


def _ordered_keys(values: jax.Array) -> jax.Array:
  """Integers in the order of the floats: float32[...] -> uint32[...]."""
  values = jnp.where(values == 0, 0.0, values)  # -0 and 0 are the same.
  bits = jax.lax.bitcast_convert_type(values, jnp.uint32)
  sign = jnp.uint32(1) << jnp.uint32(31)
  return jnp.where(bits >= sign, ~bits, bits | sign)
