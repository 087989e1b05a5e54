"""Frechet distances agree with other tools and with 50-digit arithmetic."""

import functools

import numpy as np
import pytest

from rq_jax.evaluation import frechet
from rq_jax.evaluation import moments
from tests import official
from tests.evaluation import metric_inputs
from tests.evaluation import recorded_metrics

assert_close = functools.partial(np.testing.assert_allclose, rtol=1e-6)


def of(rows):
  """Mean and covariance of rows."""
  found = moments.Moments()
  found.add(rows)
  return found.mean, found.covariance


def distance(first, second):
  return frechet.distance(*of(first), *of(second))


@pytest.mark.parametrize('case', metric_inputs.SIZES)
def test_distances_are_those_of_the_tools(case):
  generated, real = metric_inputs.features(case)
  recorded = recorded_metrics.tools()['frechet'][case]
  found = distance(generated, real)
  assert_close(found, recorded['pytorch-fid'])
  # These tools compute means in the float32 of their features.
  sides = [
      argument
      for x in (generated, real)
      for argument in (x.mean(axis=0), np.cov(x, rowvar=False))
  ]
  found = frechet.distance(*sides)
  assert_close(found, recorded['clean-fid'])
  assert_close(found, recorded['torch-fidelity'])


@pytest.mark.parametrize('few', ['', 'few_'])
def test_the_authors_distances_are_reproduced(few):
  recorded = official.recording('metrics')
  first, second = recorded[f'{few}feat1'], recorded[f'{few}feat2']
  assert_close(distance(first, second), recorded[f'{few}fid'])
  assert_close(frechet.from_features(first, second), recorded[f'{few}fid'])
  assert distance(first, first) == 0
  # The authors' value of a set and itself: the rounding error of the root.
  assert abs(recorded[f'{few}fid_self']) < 2e-6


@pytest.mark.parametrize('case', metric_inputs.SMALL_SIZES)
def test_distances_are_those_of_exact_arithmetic(case):
  first, second = metric_inputs.small_features(case)
  exact = recorded_metrics.exact()['frechet'][case]
  close = functools.partial(np.testing.assert_allclose, rtol=1e-12)
  close(distance(first, second), exact)
  close(distance(second, first), exact)
  close(frechet.from_features(first, second), exact)
  mean, covariance = of(second)
  root = frechet.root(covariance)
  found = frechet.distance_to_root(*of(first), mean, root)
  assert_close(found, exact, rtol=1e-7)


def test_constant_images_have_the_exact_distance():
  first, second = metric_inputs.small_features('small')
  constant = np.tile(first[:1], (9, 1))
  exact = recorded_metrics.exact()['frechet']['constant']
  for found in (
      distance(constant, second),
      distance(second, constant),
      frechet.from_features(constant, second),
  ):
    np.testing.assert_allclose(found, exact, rtol=1e-12)
  assert distance(constant, constant) == 0


@pytest.mark.parametrize('case', metric_inputs.SIZES)
def test_a_set_is_at_distance_zero_from_itself(case):
  rows = metric_inputs.features(case)[0]
  assert distance(rows, rows) < 1e-10
  assert frechet.from_features(rows, rows) < 1e-10


def test_commuting_covariances_have_a_closed_form():
  rng = np.random.default_rng(0)
  basis = np.linalg.qr(rng.normal(size=(5, 5)))[0]
  first, second = rng.uniform(0.1, 2, size=(2, 5))
  mean = rng.normal(size=5)
  sides = [basis * values @ basis.T for values in (first, second)]
  found = frechet.distance(mean, sides[0], 0 * mean, sides[1])
  expected = mean @ mean + np.square(np.sqrt(first) - np.sqrt(second)).sum()
  np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(mean2=np.zeros(4), covariance2=np.eye(4)), '3 and 4 dimensions'),
        (dict(covariance1=np.eye(4)), r'mean has 3 numbers.*\[4, 4\]'),
        (dict(covariance1=np.nan * np.eye(3)), 'NaN or infinity'),
        (dict(mean1=np.array([0, 0, np.inf])), 'NaN or infinity'),
        (dict(covariance2=np.diag([1, 1, -1.0])), 'none may be negative'),
        (dict(covariance1=np.diag([1, 1, -1.0])), 'none may be negative'),
    ],
)
def test_statistics_that_do_not_fit_are_refused(change, message):
  sides = dict(
      mean1=np.zeros(3),
      covariance1=np.eye(3),
      mean2=np.zeros(3),
      covariance2=np.eye(3),
  )
  with pytest.raises(ValueError, match=message):
    frechet.distance(**sides | change)


def test_features_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match='3 and 4 dimensions'):
    frechet.from_features(np.zeros((5, 3)), np.zeros((5, 4)))
  with pytest.raises(ValueError, match='at least 2 images, not 1'):
    frechet.from_features(np.zeros((1, 3)), np.zeros((5, 3)))


def test_eigenvalues_below_zero_are_rounding_up_to_a_ten_thousandth():
  root = frechet.root(np.diag([1, -0.9e-4]))
  np.testing.assert_array_equal(np.abs(root), [[1, 0]])
  with pytest.raises(ValueError, match='none may be negative'):
    frechet.root(np.diag([1, -1.1e-4]))
