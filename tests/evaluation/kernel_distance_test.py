"""Kernel distances agree with other tools and with 50-digit arithmetic."""

import numpy as np
import pytest

from rq_jax.evaluation import kernel_distance
from rq_jax.evaluation import rows
from tests.evaluation import metric_inputs
from tests.evaluation import recorded_metrics

SUBSETS = 20


def distance(case, dtype, seed):
  generated, real = metric_inputs.features(case)
  return kernel_distance.distance(
      generated.astype(dtype),
      real.astype(dtype),
      subsets=SUBSETS,
      subset_size=min(len(generated), len(real), 100),
      seed=seed,
  )


@pytest.mark.parametrize('case', metric_inputs.SIZES)
def test_distances_are_those_of_the_tools(case):
  recorded = recorded_metrics.tools()['kernel'][case]['float64']
  mean, deviation = distance(case, np.float64, 2020)
  np.testing.assert_allclose(
      (mean, deviation), recorded['torch-fidelity'], rtol=1e-9
  )
  mean, _ = distance(case, np.float64, 7)
  np.testing.assert_allclose(mean, recorded['clean-fid'], rtol=1e-9)


def test_the_tools_round_the_kernel_to_float32():
  recorded = recorded_metrics.tools()['kernel']['plain']
  for seed, tool in ((2020, 'torch-fidelity'), (7, 'clean-fid')):
    mean, _ = distance('plain', np.float32, seed)
    exact, rounded = (
        np.ravel(recorded[dtype][tool])[0] for dtype in ('float64', 'float32')
    )
    np.testing.assert_allclose(mean, exact, rtol=1e-9)
    np.testing.assert_allclose(mean, rounded, atol=1e-6)


@pytest.mark.parametrize('case', metric_inputs.SMALL_SIZES)
def test_discrepancies_are_those_of_exact_arithmetic(case):
  first, second = metric_inputs.small_features(case)
  found = kernel_distance.discrepancy(first, second)
  expected = recorded_metrics.exact()['kernel'][case]
  np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_one_subset_of_all_features_is_the_discrepancy():
  first, second = metric_inputs.features('few')
  found = kernel_distance.distance(
      first[:20], second[:20], subsets=3, subset_size=20, seed=0
  )
  expected = kernel_distance.discrepancy(first[:20], second[:20])
  np.testing.assert_allclose(found, (expected, 0), rtol=1e-10, atol=1e-10)


def test_the_interval_is_that_of_discrepancies_without_each_group():
  rng = np.random.default_rng(0)
  generated, real = rng.normal(size=(48, 5)), rng.normal(size=(70, 5))
  groups = kernel_distance.intervals.groups_of_block(0, 48)
  without = np.array(
      [
          kernel_distance.discrepancy(generated[groups != group], real)
          for group in range(16)
      ]
  )
  spread = np.sqrt(15 / 16 * np.square(without - without.mean()).sum())
  found = kernel_distance.half_width(generated, real)
  np.testing.assert_allclose(found, 2.131 * spread, rtol=1e-10)


def test_the_interval_of_many_images_comes_from_evenly_spaced_ones(monkeypatch):
  rng = np.random.default_rng(0)
  generated, real = rng.normal(size=(95, 5)), rng.normal(size=(70, 5))
  monkeypatch.setattr(kernel_distance, '_FEATURES_OF_INTERVAL', 48)
  found = kernel_distance.half_width(generated, real)
  expected = kernel_distance.half_width(
      generated[::2], real[np.linspace(0, 69, 48).astype(int)]
  )
  np.testing.assert_allclose(found, expected * np.sqrt(48 / 95), rtol=1e-12)


def test_intervals_cover_the_discrepancies_of_other_images():
  rng = np.random.default_rng(0)
  real = rng.normal(size=(400, 4))
  values, widths = [], []
  for _ in range(100):
    generated = 0.3 + rng.normal(size=(64, 4))
    values.append(kernel_distance.discrepancy(generated, real))
    widths.append(kernel_distance.half_width(generated, real))
  deviations = np.abs(np.array(values) - np.mean(values))
  assert 0.9 <= (deviations < widths).mean() <= 0.99


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(subset_size=6), 'subsets of 6 features.* one side has 5 images'),
        (dict(subset_size=1), 'of 2 to 5'),
        (dict(subsets=0), 'at least 1 subset'),
    ],
)
def test_impossible_subsets_are_refused(options, message):
  options = dict(subsets=2, subset_size=4, seed=0) | options
  with pytest.raises(ValueError, match=message):
    kernel_distance.distance(np.zeros((5, 3)), np.zeros((7, 3)), **options)


def test_features_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match='3 and 4 dimensions'):
    kernel_distance.half_width(np.zeros((40, 3)), np.zeros((40, 4)))
  bad = np.zeros((40, 3))
  bad[9, 2] = np.inf
  with pytest.raises(ValueError, match='reference features of image 9'):
    kernel_distance.half_width(np.zeros((40, 3)), bad)
  with pytest.raises(ValueError, match='at least 32 images'):
    kernel_distance.half_width(np.zeros((31, 3)), np.zeros((40, 3)))


def test_too_many_features_are_refused(monkeypatch):
  monkeypatch.setattr(rows, 'MAX_FEATURES', 6)
  for measure in (
      lambda x, y: kernel_distance.distance(x, y, subset_size=4, seed=0),
      kernel_distance.half_width,
  ):
    with pytest.raises(ValueError, match='7 reference features.*at most 6'):
      measure(np.zeros((5, 3)), np.zeros((7, 3)))


def test_the_interval_uses_4096_features_of_a_side():
  rng = np.random.default_rng(0)
  generated, real = rng.normal(size=(32, 2)), rng.normal(size=(6000, 2))
  chosen = real[np.linspace(0, 5999, 4096).astype(int)]
  found = kernel_distance.half_width(generated, real)
  assert found == kernel_distance.half_width(generated, chosen)
