"""Precision and recall agree with other tools and with a plain definition."""

import numpy as np
import pytest
from scipy import spatial

from rq_jax.evaluation import precision_recall
from rq_jax.evaluation import rows as feature_rows
from tests.evaluation import metric_inputs
from tests.evaluation import recorded_metrics

# Where means are 300, float32 distances of torch-fidelity are off by a few
# percent, and float16 ones are infinite.
CASES = ('plain', 'few', 'few_against_many', 'coarse')


@pytest.mark.parametrize('case', CASES)
def test_values_are_those_of_torch_fidelity(case):
  generated, real = metric_inputs.features(case)
  recorded = recorded_metrics.tools()['precision_recall'][case]
  found = precision_recall.precision_recall(real, generated)
  np.testing.assert_allclose(found, recorded['torch-fidelity'], rtol=1e-6)


@pytest.mark.parametrize('case', CASES)
def test_values_are_those_of_adm(case):
  generated, real = metric_inputs.features(case)
  recorded = recorded_metrics.tools()['precision_recall'][case]
  found = precision_recall.precision_recall(real, generated, half=True)
  assert found == tuple(recorded['adm'])
  # In float16, some of these distances are infinite.
  generated, real = np.float32(30) * generated, np.float32(30) * real
  found = precision_recall.precision_recall(real, generated, half=True)
  assert found == tuple(recorded['adm_overflow'])


def test_float16_changes_the_values_where_it_rounds_distances():
  generated, real = metric_inputs.features('coarse')
  recorded = recorded_metrics.tools()['precision_recall']['coarse']
  assert recorded['adm'] != pytest.approx(recorded['torch-fidelity'], abs=0.1)
  exact = precision_recall.precision_recall(real, generated)
  half = precision_recall.precision_recall(real, generated, half=True)
  assert half[0] > exact[0] + 0.1


@pytest.mark.parametrize('case', metric_inputs.SIZES)
@pytest.mark.parametrize('k', [1, 3])
def test_values_follow_the_definition(case, k):
  generated, real = metric_inputs.features(case)
  distances = spatial.distance.cdist

  def share(inside, of):
    radii = np.sort(distances(of, of), axis=1)[:, k]
    return (distances(inside, of) <= radii).any(axis=1).mean()

  found = precision_recall.precision_recall(real, generated, k=k)
  assert found == (share(generated, real), share(real, generated))


def test_blocks_do_not_change_the_values(monkeypatch):
  generated, real = metric_inputs.features('coarse')
  expected = [
      precision_recall.precision_recall(real, generated, half=half)
      for half in (False, True)
  ]
  monkeypatch.setattr(precision_recall, '_STRIP', 7 * len(generated))
  monkeypatch.setattr(precision_recall, '_ADM_BLOCK', 90)
  found = [
      precision_recall.precision_recall(real, generated, half=half)
      for half in (False, True)
  ]
  assert found == expected


def test_float16_is_given_up_block_by_block(monkeypatch):
  generated, real = metric_inputs.features('coarse')
  large = np.concatenate([real, np.float32(30) * real])
  monkeypatch.setattr(precision_recall, '_ADM_BLOCK', len(real))
  half = precision_recall.manifold(real, half=True)
  exact = precision_recall.manifold(np.float32(30) * real)
  found = precision_recall.manifold(large, half=True)
  np.testing.assert_array_equal(found[: len(real)], half)
  np.testing.assert_allclose(found[len(real) :], exact, rtol=1e-6)


@pytest.mark.parametrize('half', [False, True])
@pytest.mark.parametrize('case', metric_inputs.SIZES)
def test_identical_and_constant_sets_cover_each_other(case, half):
  rows = metric_inputs.features(case)[0]
  for same in (rows, np.tile(rows[:1], (9, 1))):
    assert precision_recall.precision_recall(same, same, half=half) == (1, 1)


def test_float16_is_given_up_if_only_a_distance_overflows():
  # Squared lengths are at most 23,000, and the largest squared distance 90,000.
  rows = np.array([[-150, 3], [-149, 1], [150, 2], [151, 5]], np.float32)
  found = precision_recall.manifold(rows, k=2, half=True)
  exact = precision_recall.manifold(rows, k=2)
  np.testing.assert_allclose(found, exact, rtol=1e-6)


def test_balls_around_repeated_features_have_radius_zero():
  rows = np.random.default_rng(0).uniform(size=(9, 2048)).astype(np.float32)
  radii = precision_recall.manifold(np.repeat(rows, 4, axis=0))
  np.testing.assert_array_equal(radii, 0)
  copies = np.repeat(rows, 33, axis=0)
  found = precision_recall.precision_recall(np.repeat(rows, 4, axis=0), copies)
  assert found == (1, 1)


def test_sets_far_apart_do_not_overlap():
  rows = metric_inputs.features('few')[0]
  assert precision_recall.precision_recall(rows, rows + 100) == (0, 0)


def test_too_few_and_too_many_images_are_refused(monkeypatch):
  rows = np.zeros((4, 2))
  with pytest.raises(ValueError, match='k=3.* at least 4 images.* there are 3'):
    precision_recall.precision_recall(rows, rows[:3])
  with pytest.raises(ValueError, match='k=0'):
    precision_recall.manifold(rows, k=0)
  monkeypatch.setattr(feature_rows, 'MAX_FEATURES', 3)
  with pytest.raises(ValueError, match='4 features .*at most 3'):
    precision_recall.precision_recall(rows, rows)
  monkeypatch.undo()
  rows[1] = np.nan
  with pytest.raises(ValueError, match='image 1'):
    precision_recall.precision_recall(rows, rows)


def test_no_ball_has_a_negative_radius():
  """In float16, the squares of near features cancel to less than 0."""
  rng = np.random.default_rng(0)
  rows = (30 + 0.01 * rng.normal(size=(50, 8))).astype(np.float32)
  assert precision_recall.manifold(rows, half=True).min() == 0


@pytest.mark.parametrize('side', [0, 1])
def test_adm_decides_about_blocks_of_10000_rows_and_columns(side):
  """ADM's evaluator has row_batch_size=10000 and col_batch_size=10000."""
  many = np.zeros((10_001, 1), np.float32)
  many[9_999] = 300  # Its square is infinite in float16.
  one = np.full((1, 1), 1 / 3, np.float32)
  sides = (one, many) if side else (many, one)
  strips = precision_recall._strips(*sides, half=True)
  found = np.concatenate([squared.ravel() for _, squared in strips])
  exact = np.square(many[:, 0] - one[0, 0])
  np.testing.assert_allclose(found[:10_000], exact[:10_000], rtol=1e-6)
  assert found[10_000] == np.float32(np.square(np.float16(1 / 3)))


def test_squared_distances_below_1e_13_of_the_lengths_are_rounding():
  # The sum of two squared lengths is 2e6, so the limit is 2e-7.
  rows = np.array([[1000, 0], [1000, 2.5e-4], [1000, 0.1], [1000, 0.101]])
  radii = precision_recall.manifold(rows, k=1)
  np.testing.assert_allclose(radii, [0, 0, 1e-6, 1e-6], rtol=1e-2)
