"""Top-k and top-p filters, which find the key of the last code that is kept.

GPUs sort, which is one kernel. Other devices search bit by bit, which moves
less and needs no second array.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.models import categorical

_SIGN = np.uint32(1 << 31)  # The sign bit of a float32.


@jax.named_scope('draws')
def keep_top_k(logits: jax.Array, k: jax.Array | int) -> jax.Array:
  """Sets all but the k largest logits to -inf: float32[B, K] -> same.

  Keeps all logits that equal the k-th largest, as the official sampler does.
  """
  k = jnp.minimum(jnp.int32(k), logits.shape[-1])
  keys = ordered_keys(logits)
  last = jax.lax.platform_dependent(
      keys, k, cuda=_sorted_kth, default=_searched_kth
  )
  return jnp.where(logits >= _values(last), logits, -jnp.inf)


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
  p = jnp.asarray(p, jnp.float32)
  keys = ordered_keys(logits)
  last = jax.lax.platform_dependent(
      keys, p, cuda=_sorted_pth, default=_searched_pth
  )
  lowest = jnp.where(p >= 1, -jnp.inf, _values(last))
  return jnp.where(logits >= lowest, logits, -jnp.inf)


def _sorted_kth(keys: jax.Array, k: jax.Array) -> jax.Array:
  """The k-th largest key: uint32[B, K] -> uint32[B, 1]."""
  return jax.lax.dynamic_slice_in_dim(_descending(keys), k - 1, 1, axis=-1)


def _searched_kth(keys: jax.Array, k: jax.Array) -> jax.Array:
  """The k-th largest key: uint32[B, K] -> uint32[B, 1]."""

  def enough(threshold):
    count = jnp.sum(keys >= threshold, -1, jnp.int32, keepdims=True)
    return count >= k

  return _largest(enough, keys)


def _sorted_pth(keys: jax.Array, p: jax.Array) -> jax.Array:
  """The key at which the mass reaches p: uint32[B, K] -> uint32[B, 1]."""
  ordered = _descending(keys)
  logits = _values(ordered)
  index = categorical.first_reaching(logits, logits[:, 0], p)
  return jnp.take_along_axis(ordered, index[:, None], axis=-1)


def _searched_pth(keys: jax.Array, p: jax.Array) -> jax.Array:
  """The key at which the mass reaches p: uint32[B, K] -> uint32[B, 1]."""
  logits = _values(keys)
  mass = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
  total = jnp.sum(mass, axis=-1, keepdims=True)

  def enough(threshold):
    kept = jnp.sum(jnp.where(keys >= threshold, mass, 0), -1, keepdims=True)
    return kept >= p * total

  return _largest(enough, keys)


def _descending(keys: jax.Array) -> jax.Array:
  # Unstable and of integers, so that XLA calls the GPU's own radix sort.
  return ~jax.lax.sort(~keys, dimension=1, is_stable=False)


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
  return jnp.where(bits >= _SIGN, ~bits, bits | _SIGN)


def _values(keys: jax.Array) -> jax.Array:
  """The floats of `ordered_keys`: uint32[...] -> float32[...]."""
  bits = jnp.where(keys >= _SIGN, keys ^ _SIGN, ~keys)
  return jax.lax.bitcast_convert_type(bits, jnp.float32)
