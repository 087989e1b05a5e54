import functools

import jax
from jax.sharding import PartitionSpec
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.models import bernoulli
from tests import random_numbers


def expected(key, probability, shape):
  return jax.random.bernoulli(key, np.float32(probability), shape)


@pytest.mark.parametrize('shape', [(), (5,), (0, 3), (3, 4, 5)])
def test_draws_are_those_of_jax(shape):
  for seed, probability in enumerate((0.0, 0.1, 0.5, 0.9, 1 - 2**-23, 1.0)):
    key = jax.random.key(seed)
    drawn = jax.jit(bernoulli.draw, static_argnums=(1, 2))(
        key, probability, shape
    )
    assert drawn.dtype == bool
    np.testing.assert_array_equal(drawn, expected(key, probability, shape))


def test_a_number_equal_to_the_probability_is_not_below_it():
  key = jax.random.key(0)
  numbers = np.asarray(jax.random.uniform(key, (50,), np.float32))
  drawn = np.asarray(bernoulli.draw(key, float(numbers[7]), (50,)))
  np.testing.assert_array_equal(drawn, numbers < numbers[7])
  assert not drawn[7] and drawn.any()


@pytest.mark.parametrize('partitionable', [True, False])
def test_draws_follow_the_option_of_jax(partitionable):
  with jax.threefry_partitionable(partitionable):
    key = jax.random.key(3)
    np.testing.assert_array_equal(
        bernoulli.draw(key, 0.5, (40,)), expected(key, 0.5, (40,))
    )


def test_other_generators_draw_their_own_numbers():
  key = random_numbers.key(1)
  np.testing.assert_array_equal(
      bernoulli.draw(key, 0.5, (40,)), expected(key, 0.5, (40,))
  )


@pytest.mark.parametrize(
    ('platform', 'own'), [('cpu', False), ('tpu', True), ('cuda', True)]
)
def test_only_cpus_get_the_unrolled_generator(platform, own):
  draw = jax.jit(lambda key: bernoulli.draw(key, 0.5, (4, 4)))
  traced = draw.trace(jax.random.key(0))
  text = traced.lower(lowering_platforms=(platform,)).as_text()
  assert ('threefry2x32' in text) == own


def test_each_device_draws_only_its_part():
  mesh = partitioning.make_mesh(dict(data=8))
  sharding = jax.sharding.NamedSharding(mesh, PartitionSpec('data'))
  draw = jax.jit(
      functools.partial(bernoulli.draw, probability=0.5, shape=(16, 3, 5)),
      out_shardings=sharding,
  )
  key = jax.random.key(2)
  np.testing.assert_array_equal(draw(key), expected(key, 0.5, (16, 3, 5)))
  text = draw.lower(key).compile().as_text()
  assert 'u32[2,3,5]' in text or 'pred[2,3,5]' in text
  for words in ('[16,3,5]', 'all-gather', 'all-reduce', 'all-to-all'):
    assert words not in text
