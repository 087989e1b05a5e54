"""The nearest features, against comparing every pair."""

import numpy as np
import pytest

from rq_jax.evaluation import nearest


def features(count, dims, seed, offset=0.0):
  rng = np.random.default_rng(seed)
  return (rng.standard_normal((count, dims)) + offset).astype(np.float32)


def brute_force(ours, theirs, k):
  differences = ours[:, None].astype(np.float64) - theirs[None]
  distances = np.sqrt(np.sum(differences**2, axis=-1))
  order = np.argsort(distances, axis=1, kind='stable')[:, :k]
  return np.take_along_axis(distances, order, axis=1), order


def assert_same(found, expected):
  np.testing.assert_array_equal(found.indices, expected[1])
  np.testing.assert_allclose(found.distances, expected[0], rtol=1e-14)


@pytest.mark.parametrize('k', [1, 3, 20])
@pytest.mark.parametrize('memory', [1, 3000, 2**28])
def test_neighbors_are_those_of_comparing_all_pairs(k, memory):
  ours, theirs = features(17, 6, 1), features(45, 6, 2)
  found = nearest.nearest(ours, theirs, k=k, memory=memory)
  assert found.distances.dtype == np.float64
  assert found.indices.dtype == np.int64
  assert_same(found, brute_force(ours, theirs, k))


def test_the_reference_may_come_in_parts():
  ours, theirs = features(9, 5, 3), features(30, 5, 4)
  search = nearest.Search(ours, k=4)
  for part in np.split(theirs, [1, 3, 3, 20]):
    search.add(part)
  assert_same(search.result(), brute_force(ours, theirs, 4))


def test_near_copies_far_from_the_origin_are_told_apart():
  """The product of such features in float64 has no digit of the distance."""
  rng = np.random.default_rng(5)
  theirs = np.repeat(features(1, 64, 6, offset=1e7).astype(np.float64), 8, 0)
  theirs += rng.integers(-2, 3, theirs.shape) * 2.0**-20
  ours = theirs[[3, 5]].copy()
  ours[1, 0] += 2.0**-20
  found = nearest.nearest(ours, theirs, k=2)
  assert_same(found, brute_force(ours, theirs, 2))
  assert found.distances[0, 0] == 0 and found.distances[1, 0] == 2.0**-20


def test_of_equal_distances_the_first_index_wins():
  theirs = np.tile(features(2, 3, 7), (50, 1))
  found = nearest.nearest(theirs[:2], theirs, k=3, memory=400)
  np.testing.assert_array_equal(found.indices, [[0, 2, 4], [1, 3, 5]])
  assert not found.distances.any()


def test_no_features_have_no_neighbors():
  found = nearest.nearest(features(0, 3, 8), features(4, 3, 9), k=2)
  assert found.distances.shape == found.indices.shape == (0, 2)


def test_fewer_reference_features_than_neighbors_are_refused():
  with pytest.raises(ValueError, match='2 reference features, but 3 neighbors'):
    nearest.nearest(features(4, 3, 8), features(2, 3, 9), k=3)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_the_row_that_is_not_finite_is_named(value):
  bad = features(6, 3, 10)
  bad[4, 1] = value
  with pytest.raises(ValueError, match='Row 4 of the features'):
    nearest.Search(bad)
  search = nearest.Search(features(2, 3, 11))
  search.add(features(10, 3, 12))
  with pytest.raises(ValueError, match='Row 14 of the reference features'):
    search.add(bad)


def test_features_of_another_network_are_refused():
  with pytest.raises(ValueError, match=r'\[5, 4\], but must be \[M, 3\]'):
    nearest.nearest(features(2, 3, 1), features(5, 4, 2))


def test_no_neighbors_are_refused():
  with pytest.raises(ValueError, match='k=0 must be at least 1'):
    nearest.Search(features(2, 3, 1), k=0)
