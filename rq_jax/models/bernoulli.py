"""Draws True or False: the numbers of `jax.random.bernoulli`, faster on CPUs.

On CPUs, JAX computes its generator, Threefry, in a loop that writes all numbers
to memory five times. Here, the loop is unrolled, so that each number stays in a
register. The bits are the same.
"""

import math
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

# Threefry-2x32 with 20 rounds: Salmon et al., "Parallel Random Numbers: As Easy
# as 1, 2, 3" (SC 2011).
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def draw(
    key: jax.Array, probability: float, shape: tuple[int, ...]
) -> jax.Array:
  """Draws True with a probability in [0, 1], rounded to float32: bool[shape].

  On other devices than CPUs, and for keys of other generators than Threefry,
  this is `jax.random.bernoulli` itself.
  """
  if not _is_threefry(key) or math.prod(shape) >= 2**32:
    return jax.random.bernoulli(key, np.float32(probability), shape)
  return jax.lax.platform_dependent(
      jax.random.key_data(key),
      cpu=lambda words: _on_cpu(words, probability, shape),
      default=lambda words: jax.random.bernoulli(
          jax.random.wrap_key_data(words, impl='threefry2x32'),
          np.float32(probability),
          shape,
      ),
  )


def _is_threefry(key: jax.Array) -> bool:
  """Whether JAX draws the numbers of a key by Threefry, in the default way."""
  # JAX adds its options when it is imported, unseen by type checkers.
  partitionable = cast(Any, jax.config).jax_threefry_partitionable
  return partitionable and str(jax.random.key_impl(key)) == 'threefry2x32'


def _on_cpu(
    words: jax.Array, probability: float, shape: tuple[int, ...]
) -> jax.Array:
  # `jax.random.uniform` is the upper 23 bits, divided by 2^23. A float32 times
  # a power of two is exact, so this comparison of integers is that of floats.
  below = math.ceil(float(np.float32(probability)) * 2**23)
  return _bits(words, shape) >> np.uint32(9) < np.uint32(below)


def _bits(words: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Random bits of a key uint32[2], like `jax.random.bits`: uint32[shape]."""
  keys = words[0], words[1], words[0] ^ words[1] ^ np.uint32(_PARITY)
  keys = [key.reshape((1,) * len(shape)) for key in keys]
  # Number i is the hash of (0, i). Counting by axis, devices that hold a part
  # of the numbers compute only these.
  index = jnp.zeros(shape, jnp.uint32)
  for axis in range(len(shape)):
    step = np.uint32(math.prod(shape[axis + 1 :]))
    index += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * step
  left, right = jnp.broadcast_to(keys[0], shape), index + keys[1]
  for group in range(5):
    for bits in _ROTATIONS[group % 2]:
      left = left + right
      right = left ^ _rotated(right, bits)
    left = left + keys[(group + 1) % 3]
    right = right + keys[(group + 2) % 3] + np.uint32(group + 1)
  return left ^ right


def _rotated(x: jax.Array, bits: int) -> jax.Array:
  return (x << np.uint32(bits)) | (x >> np.uint32(32 - bits))
