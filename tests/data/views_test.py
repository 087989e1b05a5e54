"""Views depend only on seed, view and index; a single one is the center."""

import numpy as np

from rq_jax.data import transforms
from rq_jax.data import views
from rq_jax.data.sources import digits
from tests import tiny
from tests.data import augmented

VIEWS = 3


def test_views_depend_only_on_seed_view_and_index():
  source = digits.Digits('train', tiny.SIZE)
  made = views.of(source, augmented.data(), count=VIEWS, seed=augmented.SEED)
  assert len(made) == len(source)
  for index in (1437, 0, 5, 5):
    example = made[index]
    np.testing.assert_array_equal(
        example['image'], [augmented.view(index, v) for v in range(VIEWS)]
    )
    assert example['label'] == source[index]['label']
  first, second, third = made[3]['image']
  assert not np.array_equal(first, second)
  assert not np.array_equal(second, third)
  more = views.of(
      source, augmented.data(), count=VIEWS + 1, seed=augmented.SEED
  )
  np.testing.assert_array_equal(more[3]['image'][:VIEWS], made[3]['image'])


def test_a_single_view_is_the_center():
  source = digits.Digits('train', tiny.SIZE)
  (image,) = views.of(source, augmented.data(), count=1, seed=augmented.SEED)[
      8
  ]['image']
  expected = transforms.evaluate(source[8]['image'], image_size=tiny.SIZE)
  np.testing.assert_array_equal(image, expected)
