"""Top-k and top-p filters by threshold search, without sorting."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


@jax.named_scope('draws')
def keep_top_k(logits: jax.Array, k: jax.Array | int) -> jax.Array:
  """Sets all but the k largest logits to -inf: float32[B, K] -> same.

  Keeps all logits that equal the k-th largest, as the official sampler does.
  """
  keys = ordered_keys(logits)

  def enough(threshold):
    count = jnp.sum(keys >= threshold, -1, jnp.int32, keepdims=True)
    return count >= jnp.minimum(k, logits.shape[-1])

  return jnp.where(keys >= _largest(enough, keys), logits, -jnp.inf)


@jax.named_scope('draws')
def keep_top_p(logits: jax.Array, p: jax.Array | float) -> jax.Array:
  """Keeps the fewest, most likely codes whose mass reaches p; others get -inf.

  If several codes are as likely as the last one kept, all of them are kept. At
  p = 1 everything is kept. (The official sampler breaks ties by their place in
  a sort. At p = 1 it drops the tail where its float32 sum rounds to 1.)

  Args:
    logits: float32[B, K]; codes with -inf are never kept.
    p: In (0, 1].
  """
  keys = ordered_keys(logits)
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
  """The largest threshold for which `enough` is true, found bit by bit.

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


def ordered_keys(values: jax.Array) -> jax.Array:
  """Integers in the same order as the floats: float32[...] -> uint32[...]."""
  values = jnp.where(values == 0, 0.0, values)  # -0 and 0 are equal.
  bits = jax.lax.bitcast_convert_type(values, jnp.uint32)
  sign = jnp.uint32(1) << jnp.uint32(31)
  return jnp.where(bits >= sign, ~bits, bits | sign)
