"""Figures of classes, against sums over all pairs and simulated data."""

import itertools

import numpy as np
import pytest

from rq_jax.evaluation import classes


def drawn(seed, count, dims=6, shift=0.0):
  rng = np.random.default_rng(seed)
  return rng.standard_normal((count, dims)) + shift


def kernel(a, b):
  return (float(np.dot(a, b)) / len(a) + 1) ** 3


def over_pairs(x, y):
  """The definition, as sums over pairs."""
  own = [
      np.mean([kernel(a, b) for a, b in itertools.permutations(z, 2)])
      for z in (x, y)
  ]
  return sum(own) - 2 * np.mean([kernel(a, b) for a in x for b in y])


def test_the_kernel_distance_is_that_of_its_definition():
  x, y = drawn(0, 7), drawn(1, 5, shift=0.5)
  value, error = classes.kernel_distance(x, y)
  np.testing.assert_allclose(value, over_pairs(x, y), rtol=1e-12)
  variance = 0
  for i, z in enumerate((x, y)):
    left = []
    for leave_out in range(len(z)):
      sets = [x, y]
      sets[i] = np.delete(z, leave_out, axis=0)
      left.append(over_pairs(*sets))
    variance += (len(z) - 1) * np.var(left)
  np.testing.assert_allclose(error, np.sqrt(variance), rtol=1e-10)


def simulated(shift):
  """Distances of 300 pairs of sets, and their errors."""
  found = [
      classes.kernel_distance(drawn([s, 0], 25), drawn([s, 1], 30, shift=shift))
      for s in range(300)
  ]
  return np.array(found).T


def test_equal_distributions_have_a_distance_of_0_within_a_cautious_error():
  values, errors = simulated(0)
  assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(300)
  # Efron and Stein: too large here, by a factor of up to the root of 2.
  assert 1 < np.sqrt(np.mean(errors**2)) / np.std(values) < 1.6


def test_errors_are_as_large_as_the_scatter_of_the_distances():
  values, errors = simulated(1)
  np.testing.assert_allclose(
      np.sqrt(np.mean(errors**2)), np.std(values), rtol=0.15
  )


def test_each_class_is_compared_with_the_same_class():
  counts, others = [30, 25, 3, 0], [40, 20, 50, 50]
  x = [drawn([c, 1], n, shift=c) for c, n in enumerate(counts)]
  y = [drawn([c, 2], n, shift=c) for c, n in enumerate(others)]
  rows, labels = np.concatenate(x), np.repeat(np.arange(4), counts)
  order = np.random.default_rng(3).permutation(len(rows))
  found = classes.kernel_distances(
      rows[order].astype(np.float32),
      labels[order],
      np.concatenate(y),
      np.repeat(np.arange(4), others),
      num_classes=4,
  )
  np.testing.assert_array_equal(found.counts, [30, 20, 3, 0])
  np.testing.assert_array_equal(found.enough, [True, True, False, False])
  expected = [classes.kernel_distance(x[c], y[c]) for c in range(2)]
  np.testing.assert_allclose(
      np.stack([found.values, found.errors], -1)[:2], expected, rtol=1e-4
  )
  assert np.isnan(found.values[2:]).all() and np.isnan(found.errors[2:]).all()


def test_agreement_is_the_share_of_each_class():
  labels = np.repeat([0, 1, 3], [40, 20, 19])
  predicted = labels.copy()
  predicted[:10] = 3
  found = classes.agreement(predicted, labels, num_classes=4)
  np.testing.assert_array_equal(found.counts, [40, 20, 0, 19])
  np.testing.assert_array_equal(found.values, [0.75, 1, np.nan, np.nan])
  # Half of Wilson's interval at z = 1, from its two ends.
  for p, n, error in zip([0.75, 1], [40, 20], found.errors):
    ends = np.roots([1 + 1 / n, -(2 * p + 1 / n), p**2])
    np.testing.assert_allclose(error, abs(ends[0] - ends[1]) / 2, rtol=1e-9)


def by_class(values, errors, counts):
  return classes.ByClass(
      values=np.array(values),
      errors=np.array(errors),
      counts=np.array(counts),
  )


def test_the_smallest_and_the_largest_have_enough_images():
  figures = by_class(
      [np.nan, 3, 1, 2, np.nan],
      [np.nan, 0.1, 0.1, 9, np.nan],
      [1, 20, 20, 99, 19],
  )
  found = classes.extremes(figures)
  assert (found.smallest, found.largest, found.left_out) == (2, 1, 2)
  assert found.distinct


def test_one_class_has_no_extremes():
  figures = by_class([1, np.nan], [0.1, np.nan], [20, 0])
  assert classes.extremes(figures) is None


@pytest.mark.parametrize(('count', 'bound'), [(2, 1.960), (3, 2.394)])
def test_the_level_is_5_percent_over_all_pairs_of_classes(count, bound):
  # Quantiles 1 - 0.05 / 2 and 1 - 0.05 / 6 of the normal distribution.
  for factor in (0.99, 1.01):
    values = np.zeros(count)
    values[-1] = factor * bound * 0.5
    errors = np.full(count, 0.4)
    errors[-1] = 0.3
    figures = by_class(values, errors, np.full(count, 20))
    assert classes.extremes(figures).distinct == (factor > 1)


def test_equal_classes_are_rarely_told_apart():
  told = 0
  for seed in range(300):
    values = np.random.default_rng(seed).standard_normal(50)
    figures = by_class(values, np.ones(50), np.full(50, 20))
    told += classes.extremes(figures).distinct
  # Of 300, about 5 % at most.
  assert 0 < told < 30


def test_a_label_that_is_no_class_is_refused():
  with pytest.raises(ValueError, match=r'the label 4, but .* in \[0, 3\]'):
    classes.agreement(np.zeros(2), np.array([0, 4]), num_classes=4)


def test_one_label_is_needed_for_each_image():
  with pytest.raises(ValueError, match='2 reference images, but 3 labels'):
    classes.kernel_distances(
        drawn(0, 2),
        np.zeros(2, int),
        drawn(0, 2),
        np.zeros(3, int),
        num_classes=1,
    )


def test_the_image_that_is_not_finite_is_named():
  bad = drawn(0, 5)
  bad[3] = np.nan
  with pytest.raises(ValueError, match='generated image 3 are not finite'):
    classes.kernel_distances(
        bad, np.zeros(5, int), drawn(1, 5), np.zeros(5, int), num_classes=1
    )
