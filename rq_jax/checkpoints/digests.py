"""Hashes of arrays, computed on the devices that hold them.

The hash of an array is a sum, modulo 2^32, of one number per element, which
mixes the bits of the element with its index. The order of a sum of integers
does not matter. So the hash is the same for every sharding, mesh and number of
processes, every device hashes what it holds, and no array moves to the host.

A change of a single element always changes the hash. Any other change, such as
elements that trade places, keeps it with a probability of 2^-64. It protects
from faults of memory, disks and programs, but not from people who want to
deceive: for that, use a SHA-256 of the files.
"""

import functools

import jax
from jax import core
import jax.numpy as jnp
import numpy as np

from rq_jax.typing import PyTree

# Odd, so that products with all indices below 2^32 differ.
_INDEX_FACTOR = np.uint32(0x9E3779B1)
_SECOND = np.uint32(0x7F4A7C15)


def of_arrays(
    tree: PyTree, *, sharding: jax.sharding.Sharding | None = None
) -> PyTree:
  """Starts to hash all arrays of a tree; does not wait for the devices.

  Each shape is compiled once. A program for the whole tree would take ten times
  as long to compile.

  Args:
    tree: Arrays of any dtype of whole bytes; random keys count as their data.
      An array of more than 2^32 elements is hashed with indices modulo 2^32.
    sharding: Where the hashes go; None for all devices of the mesh that holds
      the array, so that every process can read them.

  Returns:
    The same tree, with uint32[2] for each array.
  """

  def start(array):
    return _program(sharding or _whole_mesh(array))(array)

  return jax.tree.map(start, tree)


def text(digest: jax.Array | np.ndarray) -> str:
  """A hash as 16 hexadecimal digits; waits for it.

  Args:
    digest: uint32[2], from `of_arrays`.
  """
  first, second = (int(word) for word in np.asarray(digest))
  return f'{first:08x}{second:08x}'


def _whole_mesh(array) -> jax.sharding.Sharding | None:
  if isinstance(array, core.Tracer):
    return None  # A caller's program decides.
  placed = getattr(array, 'sharding', None)
  if not isinstance(placed, jax.sharding.NamedSharding):
    return None
  return jax.sharding.NamedSharding(placed.mesh, jax.sharding.PartitionSpec())


@functools.cache
def _program(sharding: jax.sharding.Sharding | None):
  return jax.jit(_of_array, out_shardings=sharding)


def _of_array(array: jax.Array) -> jax.Array:
  words = _words(array)
  index = jnp.zeros(words.shape, jnp.uint32)
  stride = 1
  for axis in reversed(range(words.ndim)):
    along = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
    index += along * np.uint32(stride % 2**32)
    stride *= words.shape[axis]
  key = index * _INDEX_FACTOR
  first = _mix(words ^ key)
  second = _mix(first + key + _SECOND)
  sums = [jnp.sum(x, dtype=jnp.uint32) for x in (first, second)]
  return jnp.stack(sums)


def _words(array: jax.Array) -> jax.Array:
  """The bits of an array: uint32[shape], or uint32[shape, 2] for 8 bytes."""
  if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
    array = jax.random.key_data(array)
  if array.dtype == jnp.bool_:
    return array.astype(jnp.uint32)
  narrow = {1: jnp.uint8, 2: jnp.uint16}.get(array.dtype.itemsize)
  bits = jax.lax.bitcast_convert_type(array, narrow or jnp.uint32)
  return bits.astype(jnp.uint32)


def _mix(words: jax.Array) -> jax.Array:
  """The last step of MurmurHash3 (Appleby), a permutation of all uint32."""
  words = (words ^ (words >> 16)) * np.uint32(0x85EBCA6B)
  words = (words ^ (words >> 13)) * np.uint32(0xC2B2AE35)
  return words ^ (words >> 16)
