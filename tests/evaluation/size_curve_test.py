"""FID against the number of images, its interval and its limit."""

import numpy as np
import pytest

from rq_jax.evaluation import frechet
from rq_jax.evaluation import moments
from rq_jax.evaluation import size_curve

DIMENSIONS = 8
# The distance of N(0.1, 1) and N(0, 1) in every dimension.
LIMIT = DIMENSIONS * 0.1**2


def grouped(rng, count):
  result = moments.GroupedMoments()
  result.add(0.1 + rng.normal(size=(count, DIMENSIONS)))
  return result


def curve(rng, count):
  identity = np.eye(DIMENSIONS)
  return size_curve.curve(grouped(rng, count), np.zeros(DIMENSIONS), identity)


def test_the_largest_size_has_the_distance_of_all_images():
  rows = 0.1 + np.random.default_rng(0).normal(size=(403, DIMENSIONS))
  result = moments.GroupedMoments()
  result.add(rows)
  reference = (np.zeros(DIMENSIONS), np.eye(DIMENSIONS))
  found = size_curve.curve(result, *reference)
  expected = frechet.distance(
      rows.mean(axis=0), np.cov(rows, rowvar=False), *reference
  )
  np.testing.assert_allclose(found.values[-1], expected, rtol=1e-9)
  assert found.sizes == (50, 100, 201, 403)


def test_a_line_in_the_inverse_size_gives_its_limit():
  sizes = (100, 200, 400, 800)
  values = [3 + 500 / n for n in sizes]
  np.testing.assert_allclose(size_curve.limit(sizes, values, 99), 3)
  # The smallest size lies off the line, because it has too few images.
  values[0] += 1
  np.testing.assert_allclose(size_curve.limit(sizes, values, 100), 3)
  assert size_curve.limit(sizes, values, 200) is None


def test_limit_and_interval_are_right_in_simulations():
  rng = np.random.default_rng(0)
  curves = [curve(rng, 400) for _ in range(100)]
  values = np.array([found.values for found in curves])
  limits = np.array([found.limit for found in curves])
  # The bias of the FID at N is about (D + D (D + 1) / 4) / N = 26 / N here.
  biases = values.mean(axis=0) - LIMIT
  np.testing.assert_allclose(
      biases, 26 / np.array([50, 100, 200, 400]), rtol=0.2
  )
  np.testing.assert_allclose(limits.mean(), LIMIT, atol=0.01)
  widths = np.array([found.half_width for found in curves])
  covered = np.abs(values[:, -1] - values[:, -1].mean()) < widths
  assert 0.9 <= covered.mean() <= 0.99


def test_few_images_have_no_limit_and_fewer_no_interval():
  rng = np.random.default_rng(0)
  assert curve(rng, 32).limit is None
  with pytest.raises(ValueError, match='at least 32 images'):
    curve(rng, 31)
