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
  if logits.shape[-1] <= _BLOCK:
    sums = _running_sums(_mass(logits, largest))
    return _find(sums, uniforms * sums[..., -1])
  # Find the block first, then the code in it: cumulative sums over all codes
  # take several passes over the masses, sums of blocks take one.
  blocks, in_block, sums = _blocks(logits, largest)
  level = uniforms * sums[..., -1]
  block = _find(sums, level)
  rest = level - (_at(sums, block) - _at(in_block, block))
  inner = _running_sums(_mass(_block_at(blocks, block), largest))
  return block * _BLOCK + _find(inner, jnp.maximum(rest, 0))


def first_reaching(
    logits: jax.Array, largest: jax.Array, share: jax.Array
) -> jax.Array:
  """First indices at which the cumulative distribution reaches a share.

  It takes a kernel less than `invert`, but is not fit for draws: if no sum
  reaches the share because of rounding, it returns the last index, which may
  have no mass.

  Args:
    logits: Unnormalized log-probabilities, float32[..., K].
    largest: The largest logits, float32[...].
    share: The share, float32[], in (0, 1].

  Returns:
    Indices, int32[...].
  """
  blocks, in_block, sums = _blocks(logits, largest)
  level = (share * sums[..., -1])[..., None]
  block = _count(sums[..., :-1] < level)
  before = _at(sums, block) - _at(in_block, block)
  mass = _mass(_block_at(blocks, block), largest)
  # What is before the block counts as mass of its first code, because adding it
  # to the sums would take another kernel.
  first = np.arange(_BLOCK) == 0
  inner = _running_sums(mass + jnp.where(first, before[..., None], 0))
  index = block * _BLOCK + _count(inner < level)
  return jnp.minimum(index, logits.shape[-1] - 1)


def _mass(logits: jax.Array, largest: jax.Array) -> jax.Array:
  """Unnormalized probabilities, at most 1: [..., K] or [..., n, _BLOCK]."""
  shape = largest.shape + (1,) * (logits.ndim - largest.ndim)
  return jnp.exp(logits - largest.reshape(shape))


def _blocks(
    logits: jax.Array, largest: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Splits codes into blocks, the last one padded.

  Returns:
    The logits, [..., n, _BLOCK]; the mass of each block, and its running sums,
    [..., n].
  """
  padding = [(0, 0)] * (logits.ndim - 1) + [(0, -logits.shape[-1] % _BLOCK)]
  blocks = jnp.pad(logits, padding, constant_values=-jnp.inf)
  blocks = blocks.reshape(*logits.shape[:-1], -1, _BLOCK)
  in_block = jnp.sum(_mass(blocks, largest), axis=-1)
  return blocks, in_block, _running_sums(in_block)


def _block_at(blocks: jax.Array, index: jax.Array) -> jax.Array:
  """Picks one block: [..., n, _BLOCK], [...] -> [..., _BLOCK]."""
  picked = jnp.take_along_axis(blocks, index[..., None, None], axis=-2)
  return picked[..., 0, :]


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
  return _count(sums <= level[..., None])


def _count(passed: jax.Array) -> jax.Array:
  return jnp.sum(passed, axis=-1, dtype=jnp.int32)


def _at(values: jax.Array, index: jax.Array) -> jax.Array:
  """Picks one entry of the last axis: [..., K], [...] -> [...]."""
  return jnp.take_along_axis(values, index[..., None], axis=-1)[..., 0]
