"""Means and covariances of streams agree with those of NumPy, bit for bit."""

import tracemalloc

import numpy as np
import pytest

from rq_jax.evaluation import intervals
from rq_jax.evaluation import moments
from tests import official


def of(rows, size=None):
  """Moments of rows that are added in parts of a size."""
  result = moments.Moments()
  for start in range(0, len(rows), size or len(rows)):
    result.add(rows[start : start + (size or len(rows))])
  return result


def rows(count=5000, mean=0.3, dimensions=6):
  rng = np.random.default_rng(0)
  scale = np.exp(rng.normal(size=dimensions))
  drawn = mean + scale * rng.normal(size=(count, dimensions))
  return drawn.astype(np.float32)


@pytest.mark.parametrize('mean', [0.3, 300.0, 1e6])
@pytest.mark.parametrize('count', [2, 2047, 2048, 5000])
def test_moments_are_those_of_numpy(count, mean):
  drawn = rows(count, mean)
  found = of(drawn)
  wide = drawn.astype(np.float64)
  np.testing.assert_allclose(found.mean, wide.mean(0), rtol=1e-14)
  np.testing.assert_allclose(
      found.covariance, np.cov(wide, rowvar=False), rtol=1e-10, atol=1e-10
  )
  assert found.count == count
  assert found.mean.dtype == found.covariance.dtype == np.float64


def test_the_authors_mean_and_covariance_are_reproduced():
  recorded = official.recording('metrics')
  found = of(recorded['feat1'])
  np.testing.assert_allclose(found.mean, recorded['mu1'], rtol=1e-6, atol=1e-7)
  np.testing.assert_allclose(found.covariance, recorded['sigma1'], rtol=1e-10)


@pytest.mark.parametrize('size', [10, 100, 2048, 3000])
def test_bits_do_not_depend_on_how_rows_are_divided(size):
  drawn = rows()
  whole, parts = of(drawn), of(drawn, size)
  np.testing.assert_array_equal(parts.mean, whole.mean)
  np.testing.assert_array_equal(parts.covariance, whole.covariance)


def test_reading_moments_does_not_change_them():
  drawn = rows()
  read = moments.Moments()
  for start in range(0, len(drawn), 500):
    read.add(drawn[start : start + 500])
    assert np.isfinite(read.covariance).all()
  np.testing.assert_array_equal(read.covariance, of(drawn).covariance)


@pytest.mark.parametrize('cut', [1, 2048, 3000])
def test_merged_sums_are_those_of_all_rows(cut):
  drawn = rows()
  first, second = (of(part).sums() for part in (drawn[:cut], drawn[cut:]))
  merged = moments.merge(first, second)
  np.testing.assert_allclose(merged.mean, of(drawn).mean, rtol=1e-13)
  np.testing.assert_allclose(
      merged.covariance, of(drawn).covariance, rtol=1e-11, atol=1e-12
  )
  assert (merged.count, first.count) == (5000, cut)


def test_removing_a_part_leaves_the_moments_of_the_others():
  drawn = rows(mean=300.0)
  left = moments.remove(of(drawn).sums(), of(drawn[1000:]).sums())
  np.testing.assert_allclose(left.mean, of(drawn[:1000]).mean, rtol=1e-14)
  np.testing.assert_allclose(
      left.covariance, of(drawn[:1000]).covariance, rtol=1e-10, atol=1e-11
  )


def test_groups_hold_all_rows_in_equal_numbers():
  drawn = rows(5000)
  grouped = moments.GroupedMoments()
  for start in range(0, 5000, 600):
    grouped.add(drawn[start : start + 600])
  groups = grouped.groups()
  assert len(groups) == intervals.GROUPS
  counts = [group.count for group in groups]
  assert sum(counts) == 5000
  assert max(counts) - min(counts) <= 1
  total = groups[0]
  for group in groups[1:]:
    total = moments.merge(total, group)
  np.testing.assert_allclose(total.covariance, of(drawn).covariance, rtol=1e-11)
  np.testing.assert_array_equal(grouped.groups()[3].scatter, groups[3].scatter)


def test_one_image_has_a_mean_but_no_covariance():
  found = of(rows(1))
  np.testing.assert_array_equal(found.mean, rows(1)[0])
  with pytest.raises(ValueError, match='at least 2 images, but there are 1'):
    _ = found.covariance
  with pytest.raises(ValueError, match='no images'):
    _ = moments.Moments().mean


def test_nan_is_refused_and_nothing_of_the_call_is_added():
  found = of(rows(2000))
  bad = rows(700)
  bad[650, 2] = np.nan
  with pytest.raises(ValueError, match='image 2650'):
    found.add(bad)
  np.testing.assert_array_equal(found.covariance, of(rows(2000)).covariance)


def test_constant_rows_have_no_covariance_at_all():
  found = of(np.full((3000, 4), 0.1))
  np.testing.assert_allclose(found.covariance, 0, atol=1e-28)


@pytest.mark.parametrize('kind', [moments.Moments, moments.GroupedMoments])
def test_memory_does_not_grow_with_the_number_of_rows(kind):
  def peak(count):
    chunk = np.ones((4096, 8), np.float32)
    tracemalloc.start()
    statistic = kind()
    for _ in range(count // 4096):
      statistic.add(chunk)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest

  peak(4096)
  assert peak(20 * 4096) < 1.02 * peak(2 * 4096)


def test_groups_are_drawn_for_blocks_of_4096_rows():
  """Intervals of stored results depend on it."""
  drawn = rows(5000)
  of_row = np.concatenate(
      [
          intervals.groups_of_block(0, 4096),
          intervals.groups_of_block(1, 5000 - 4096),
      ]
  )
  grouped = moments.GroupedMoments()
  grouped.add(drawn)
  for number, group in enumerate(grouped.groups()):
    expected = drawn[of_row == number].mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(group.mean, expected, rtol=1e-13)
