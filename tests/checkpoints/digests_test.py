"""Hashes of arrays follow their definition, wherever the arrays are."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from rq_jax.checkpoints import digests
from rq_jax.distributed import partitioning


def _mix(word):
  word ^= word >> 16
  word = word * 0x85EBCA6B % 2**32
  word ^= word >> 13
  word = word * 0xC2B2AE35 % 2**32
  return word ^ (word >> 16)


def _expected(words):
  """The definition, element by element: 16 hexadecimal digits."""
  first = second = 0
  for index, word in enumerate(words.reshape(-1).tolist()):
    key = index * 0x9E3779B1 % 2**32
    mixed = _mix(word ^ key)
    first += mixed
    second += _mix((mixed + key + 0x7F4A7C15) % 2**32)
  return f'{first % 2**32:08x}{second % 2**32:08x}'


def _of(array, **kwargs):
  return digests.text(digests.of_arrays(array, **kwargs))


@pytest.mark.parametrize(
    ('dtype', 'words'),
    [
        ('float32', np.uint32),
        ('int32', np.uint32),
        ('bfloat16', np.uint16),
        ('float16', np.uint16),
        ('uint8', np.uint8),
        ('bool', np.uint8),
    ],
)
@pytest.mark.parametrize('shape', [(3, 5, 7), (11,), (), (0, 3)])
def test_a_hash_follows_its_definition(dtype, words, shape):
  drawn = np.random.default_rng(0).integers(0, 200, shape)
  array = jnp.asarray(drawn).astype(dtype)
  assert _of(array) == _expected(np.asarray(array).reshape(-1).view(words))


def test_numbers_of_eight_bytes_count_as_two_words():
  with jax.enable_x64(True):
    array = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)))
    assert array.dtype == np.float64
    assert _of(array) == _expected(np.asarray(array).view(np.uint32))


def test_random_keys_count_as_their_data():
  keys = jax.random.split(jax.random.key(3), 4)
  assert _of(keys) == _expected(np.asarray(jax.random.key_data(keys)))


@pytest.mark.parametrize('axes', [('data', None), (None, 'data'), (None, None)])
def test_the_sharding_does_not_matter(axes):
  mesh = partitioning.make_mesh({'data': -1})
  array = jnp.asarray(np.random.default_rng(0).normal(size=(16, 24)), 'float32')
  placed = jax.device_put(array, NamedSharding(mesh, PartitionSpec(*axes)))
  assert jax.device_count() == 8
  assert _of(placed, sharding=partitioning.replicated(mesh)) == _of(array)


def test_every_flipped_bit_changes_the_hash():
  words = np.random.default_rng(0).integers(0, 2**32, 20, np.uint32)
  flipped = [
      words ^ (np.arange(20) == i).astype(np.uint32) * np.uint32(1 << bit)
      for i in range(20)
      for bit in range(32)
  ]
  hashes = jax.vmap(digests.of_arrays)(jnp.stack([words, *flipped]))
  assert len({digests.text(h) for h in hashes}) == 641


def test_places_shapes_of_trees_and_signs_of_zeros_matter():
  tree = {'a': jnp.array([1.0, 2.0]), 'b': {'c': jnp.array([2.0, 1.0])}}
  found = jax.tree.map(digests.text, digests.of_arrays(tree))
  assert found['a'] != found['b']['c']
  assert _of(jnp.array([0.0])) != _of(jnp.array([-0.0]))
