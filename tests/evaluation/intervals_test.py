"""Groups of images are equal and random; intervals cover what they should."""

import numpy as np
import pytest

from rq_jax.evaluation import intervals


def test_sixteen_consecutive_images_belong_to_sixteen_groups():
  groups = intervals.groups_of_block(3, 512).reshape(-1, intervals.GROUPS)
  np.testing.assert_array_equal(
      np.sort(groups, axis=1), np.tile(np.arange(16), (32, 1))
  )
  # No position always belongs to the same group, as it could be a class.
  assert (groups.max(axis=0) > groups.min(axis=0)).all()


def test_groups_depend_on_the_block_but_not_on_its_length():
  whole = intervals.groups_of_block(3, 512)
  np.testing.assert_array_equal(intervals.groups_of_block(3, 100), whole[:100])
  assert (intervals.groups_of_block(4, 512) != whole).any()


def test_the_interval_of_a_mean_is_its_standard_error():
  # Of equal groups: the jackknife of a mean is exact.
  values = np.random.default_rng(0).normal(size=intervals.GROUPS)
  without = (values.sum() - values) / (len(values) - 1)
  expected = 2.131 * values.std(ddof=1) / np.sqrt(len(values))
  np.testing.assert_allclose(intervals.half_width(without), expected)


def test_the_interval_of_values_per_image_is_that_of_a_normal_mean():
  values = np.random.default_rng(0).normal(size=1000)
  np.testing.assert_allclose(
      intervals.half_width_of_mean(values),
      1.96 * values.std(ddof=1) / np.sqrt(1000),
  )


def test_too_few_images_have_no_interval():
  intervals.check_number(32)
  with pytest.raises(ValueError, match='at least 32 images.* there are 31'):
    intervals.check_number(31)
  with pytest.raises(ValueError, match='at least 32 images'):
    intervals.half_width_of_mean(np.zeros(3))


def test_groups_are_those_of_stored_results():
  """Another seed would change the intervals of earlier evaluations."""
  found = intervals.groups_of_block(1, 18).tolist()
  assert found == [7, 13, 3, 15, 9, 8, 6, 11, 10, 2, 5, 14, 12, 4, 1, 0, 7, 12]
