"""Inception Scores agree with other tools and with 50-digit arithmetic."""

import tracemalloc

import numpy as np
import pytest

from rq_jax.evaluation import inception_score
from rq_jax.evaluation import intervals
from tests import official
from tests.evaluation import metric_inputs
from tests.evaluation import recorded_metrics


@pytest.mark.parametrize('splits', [1, 3, 10])
def test_scores_are_those_of_torch_fidelity(splits):
  recorded = recorded_metrics.tools()['inception_score']
  found = inception_score.score(
      metric_inputs.logits(), splits=splits, seed=2020
  )
  np.testing.assert_allclose(
      found, recorded[f'torch-fidelity_{splits}'], rtol=1e-12
  )


def test_scores_of_consecutive_images_are_those_of_adm():
  recorded = recorded_metrics.tools()['inception_score']['adm_50']
  found, _ = inception_score.score(metric_inputs.logits(), split_size=50)
  np.testing.assert_allclose(found, recorded, rtol=1e-6)


@pytest.mark.parametrize('odd', ['', 'odd_'])
@pytest.mark.parametrize('splits, name', [(10, 'is'), (5, 'is5')])
def test_the_authors_scores_are_reproduced(odd, splits, name):
  recorded = official.recording('metrics')
  found = inception_score.score(
      recorded[f'{odd}is_logits'], splits=splits, ddof=1
  )
  expected = [recorded[f'{odd}{name}_{part}'] for part in ('mean', 'std')]
  np.testing.assert_allclose(found, expected, rtol=1e-6)


# With a spread of 400, most probabilities are 0 in float64.
@pytest.mark.parametrize('spread', [2, 400])
def test_scores_are_those_of_exact_arithmetic(spread):
  logits = metric_inputs.logits(40, spread=float(spread))
  found, deviation = inception_score.score(logits, splits=1)
  expected = recorded_metrics.exact()[f'score_{spread}']
  np.testing.assert_allclose(found, expected, rtol=1e-13)
  assert deviation == 0


def test_a_certain_classifier_scores_the_number_of_its_classes():
  found, _ = inception_score.score(1e4 * np.tile(np.eye(7), (3, 1)), splits=1)
  np.testing.assert_allclose(found, 7)
  # Equal images, and images of unknown class, score 1.
  for logits in (np.tile(np.arange(7.0), (20, 1)), np.full((20, 7), 300.0)):
    found, _ = inception_score.score(logits, splits=2)
    np.testing.assert_allclose(found, 1, rtol=1e-13)


@pytest.mark.parametrize(
    'options',
    [dict(splits=3), dict(split_size=500), dict(splits=3, seed=1)],
)
@pytest.mark.parametrize('size', [1, 100, 512, 777])
def test_bits_do_not_depend_on_how_logits_are_divided(size, options):
  logits = np.random.default_rng(0).normal(size=(1300, 5)).astype(np.float32)
  parts = inception_score.InceptionScore(1300, **options)
  for start in range(0, 1300, size):
    parts.add(logits[start : start + size])
  parts.add(logits[:0])
  assert parts.score() == inception_score.score(logits, **options)


@pytest.mark.parametrize('options', [dict(splits=4), dict(split_size=200)])
def test_scores_are_those_of_each_split(options):
  logits = np.random.default_rng(0).normal(size=(1000, 5))
  size = options.get('split_size', 250)
  scores = [
      inception_score.score(logits[i : i + size], splits=1)[0]
      for i in range(0, 1000, size)
  ]
  found = inception_score.score(logits, **options, ddof=1)
  expected = np.mean(scores), np.std(scores, ddof=1)
  np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_intervals_cover_the_scores_of_other_images():
  rng = np.random.default_rng(0)
  weights = 1.5 * rng.normal(size=(4, 6))
  scores, widths = [], []
  for _ in range(100):
    statistic = inception_score.InceptionScore(600, splits=2)
    statistic.add(rng.normal(size=(600, 4)) @ weights)
    scores.append(statistic.score()[0])
    widths.append(statistic.half_width())
  deviations = np.abs(np.array(scores) - np.mean(scores))
  assert 0.9 <= (deviations < widths).mean() <= 0.99


def test_memory_does_not_grow_with_the_number_of_images():
  def peak(count):
    chunk = np.ones((1024, 16), np.float32)
    tracemalloc.start()
    statistic = inception_score.InceptionScore(count, split_size=1024)
    for _ in range(count // 1024):
      statistic.add(chunk)
    highest = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return highest

  peak(2048)
  # Of a finished split, 17 numbers are kept.
  assert peak(40 * 1024) - peak(4 * 1024) < 36 * 1500


@pytest.mark.parametrize(
    'count, options, message',
    [
        (9, dict(splits=10), '9 images cannot be divided: splits is 10'),
        (0, dict(splits=1), '0 images'),
        (9, dict(splits=0), 'splits is 0'),
        (9, dict(split_size=0), 'split_size is 0'),
        (9, dict(), 'Give one of them'),
        (9, dict(splits=1, split_size=1), 'Give one of them'),
    ],
)
def test_impossible_splits_are_refused(count, options, message):
  with pytest.raises(ValueError, match=message):
    inception_score.InceptionScore(count, **options)


def test_the_number_of_images_must_be_as_announced():
  statistic = inception_score.InceptionScore(5, splits=1)
  statistic.add(np.zeros((4, 3)))
  with pytest.raises(
      ValueError, match='4 images were added.* 5 were announced'
  ):
    statistic.score()
  with pytest.raises(
      ValueError, match='6 images were added.* 5 were announced'
  ):
    statistic.add(np.zeros((2, 3)))


def test_one_split_has_no_unbiased_deviation():
  with pytest.raises(ValueError, match='ddof=1 needs more than 1 split'):
    inception_score.score(np.zeros((9, 3)), splits=1, ddof=1)


def test_nan_and_small_splits_are_refused():
  logits = np.zeros((40, 3))
  statistic = inception_score.InceptionScore(40, splits=2)
  statistic.add(logits)
  with pytest.raises(ValueError, match='in every split, but there are 20'):
    statistic.half_width()
  logits[7] = np.nan
  with pytest.raises(ValueError, match='logits of image 7'):
    inception_score.score(logits, splits=2)


def test_the_interval_is_that_of_scores_without_each_group():
  """Groups are drawn for blocks of 512 rows; stored results depend on it."""
  logits = np.random.default_rng(0).normal(size=(1200, 5))
  sizes = (512, 512, 176)
  of_row = np.concatenate(
      [intervals.groups_of_block(i, size) for i, size in enumerate(sizes)]
  )
  statistic = inception_score.InceptionScore(1200, splits=1)
  statistic.add(logits)
  without = []
  for group in range(16):
    p = np.exp(logits[of_row != group])
    p /= p.sum(axis=1, keepdims=True)
    divergences = np.sum(p * np.log(p / p.mean(axis=0)), axis=1)
    without.append(np.exp(divergences.mean()))
  spread = np.sqrt(15 / 16 * np.square(without - np.mean(without)).sum())
  np.testing.assert_allclose(statistic.half_width(), 2.131 * spread, rtol=1e-9)
