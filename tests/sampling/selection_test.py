"""The best draws against all draws, made one by one and sorted."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.sampling import requests
from rq_jax.sampling import selection
from rq_jax.sampling.options import Sampling
from tests.sampling import models

_KEY = jax.random.key(8)


def _score_of(index):
  """Of ten values, so that many draws have the same one."""
  return ((index + 1) * 7919 % 1009) % 10 / np.float32(8)


def _attempt(indices):
  """Images and codes that tell which draw they are."""
  images = np.broadcast_to(
      indices[:, None, None, None], (len(indices), 1, 1, 3)
  )
  return jnp.asarray(-indices)[:, None, None, None], jnp.asarray(images)


def _score(images):
  return _score_of(np.asarray(images)[:, 0, 0, 0])


def _request(labels, first=0):
  prior = models.sampler().prior
  asked = dict(labels=labels, first_index=first)
  return requests.ask(prior, asked, sampling=Sampling())


def _check(found, expected):
  """Compares with which draw each image should be."""
  np.testing.assert_array_equal(found.indices, expected)
  np.testing.assert_array_equal(found.codes[:, 0, 0, 0], -np.array(expected))
  np.testing.assert_array_equal(found.images[:, 0, 0, 0], expected)
  np.testing.assert_array_equal(found.scores, _score_of(np.array(expected)))
  assert found.scores.dtype == np.float32


@pytest.mark.parametrize('n', [1, 2, 7])
@pytest.mark.parametrize('first', [0, 5])
def test_of_each_image_the_first_of_its_best_draws_is_taken(n, first):
  found = selection.best_of(_attempt, _score, _request([3, 3, 0, 1], first), n)
  expected = [
      max(range(i * n, i * n + n), key=lambda j: (_score_of(j), -j))
      for i in range(first, first + 4)
  ]
  _check(found, expected)


@pytest.mark.parametrize('rate', [1, 0.3, 0.05, 0.5, 0.999, 1 / 3, 1 - 0.9])
@pytest.mark.parametrize(
    'labels', [[3, 0, 3, 3, 1], [2], [1, 1, 1, 1], [5, 4, 3]], ids=str
)
def test_of_each_condition_the_best_of_its_pool_are_taken(rate, labels):
  first = 2
  found = selection.accepted(_attempt, _score, _request(labels, first), rate)
  # 1 / (1 - 0.9) is 10, whatever the floats say.
  sizes = {m: math.ceil(round(m / rate, 6)) for m in range(1, 5)}
  members = {x: [i for i, y in enumerate(labels) if x == y] for x in labels}
  rounds = max(math.ceil(sizes[len(m)] / len(m)) for m in members.values())
  expected = np.zeros(len(labels), int)
  for rows in members.values():
    pool = [(first + i) * rounds + j for j in range(rounds) for i in rows]
    pool = pool[: sizes[len(rows)]]
    best = sorted(pool, key=lambda j: -_score_of(j))  # Stable.
    expected[rows] = best[: len(rows)]
  _check(found, expected)


def test_draws_are_counted_pool_by_pool_and_round_by_round():
  labels = np.array([3, 0, 3, 3, 1])
  pools = selection.pools(labels[:, None], 0.3)  # Of 4, 4 and 10 draws.
  assert (pools.total, pools.rounds) == (18, 4)
  pool = [(i, 4 * i + turn) for turn in range(4) for i in (0, 2, 3)][:10]
  expected = [(1, 4 + j) for j in range(4)] + [(4, 16 + j) for j in range(4)]
  images, indices = pools.draws(np.arange(18))
  assert list(zip(images, indices, strict=True)) == expected + pool
  assert [pools.range(g) for g in range(3)] == [
      range(4),
      range(4, 8),
      range(8, 18),
  ]
  members = [pools.members(g).tolist() for g in range(3)]
  assert members == [[1], [4], [0, 2, 3]]


def test_a_pool_is_exactly_as_large_as_the_rate_says():
  # Three of ten: of the last of four rounds, 3, 7 and 11, the first counts.
  def score(images):
    index = np.asarray(images)[:, 0, 0, 0]
    return np.isin(index, [3, 7, 11]) * (1.0 + index)

  found = selection.accepted(_attempt, score, _request([1, 1, 1]), 0.3)
  np.testing.assert_array_equal(found.indices, [3, 0, 4])


def test_texts_compete_with_the_same_text_alone():
  texts = np.array([[1, 2], [1, 3], [1, 2]])
  request = requests.make(models.sampler().prior, texts, Sampling())
  found = selection.accepted(_attempt, _score, request, 0.5)
  best = sorted([0, 4, 1, 5], key=lambda j: -_score_of(j))[:2]
  other = max([2, 3], key=lambda j: (_score_of(j), -j))
  _check(found, [best[0], other, best[1]])


def _darkness(images):
  return -jnp.mean(images.astype(jnp.float32), axis=(1, 2, 3))


@functools.cache
def _one(index, label):
  codes = models.sampler().codes(_KEY, labels=[label], first_index=index)
  image = np.asarray(models.random_tokenizer().decode(codes))[0]
  return np.asarray(codes)[0], image, float(_darkness(image[None])[0])


@pytest.mark.slow
@pytest.mark.parametrize('first', [0, 3])
def test_a_sampler_takes_the_best_of_what_it_would_draw_alone(first):
  labels = [3, 7, 3]
  asked = dict(labels=labels, first_index=first)
  found = models.sampler().best_of(_KEY, 3, _darkness, **asked)
  for i, label in enumerate(labels):
    pool = [(first + i) * 3 + j for j in range(3)]
    best = max(pool, key=lambda j, x=label: _one(j, x)[2])
    assert found.indices[i] == best
    np.testing.assert_array_equal(found.codes[i], _one(best, label)[0])
    np.testing.assert_array_equal(found.images[i], _one(best, label)[1])
    np.testing.assert_allclose(found.scores[i], _one(best, label)[2], 1e-5)
  assert found.images.dtype == np.uint8 and found.codes.dtype == np.int32


@pytest.mark.slow
def test_a_sampler_accepts_the_best_of_what_it_would_draw_alone():
  labels = [3, 7, 3]
  found = models.sampler().rejection_sample(_KEY, 0.4, _darkness, labels=labels)
  # Five draws of label 3, three of label 7, in three rounds.
  pool = sorted([0, 6, 1, 7, 2], key=lambda j: -_one(j, 3)[2])
  other = max([3, 4, 5], key=lambda j: _one(j, 7)[2])
  expected = [pool[0], other, pool[1]]
  np.testing.assert_array_equal(found.indices, expected)
  for i, index in enumerate(expected):
    np.testing.assert_array_equal(found.codes[i], _one(index, labels[i])[0])
    np.testing.assert_array_equal(found.images[i], _one(index, labels[i])[1])


def test_draws_beyond_those_of_a_key_are_refused():
  with pytest.raises(ValueError, match='needs image 4295032831 of'):
    models.sampler().best_of(
        _KEY, 2**16 + 1, _darkness, labels=[3], first_index=2**16 - 1
    )


def test_without_a_choice_images_are_drawn_as_ever():
  sampler, labels = models.sampler(), [3, 7, 3, 0]
  plain = sampler(_KEY, labels=labels)
  best = sampler.best_of(_KEY, 1, _darkness, labels=labels)
  np.testing.assert_array_equal(best.images, plain)
  np.testing.assert_array_equal(best.indices, range(4))
  all_of = sampler.rejection_sample(_KEY, 1, _darkness, labels=labels)
  # The best first, among those of a label.
  order = [2, 1, 0, 3] if all_of.scores[0] != best.scores[0] else range(4)
  np.testing.assert_array_equal(all_of.indices, order)
  np.testing.assert_array_equal(all_of.images, np.asarray(plain)[list(order)])
  assert all_of.scores[0] >= all_of.scores[2]


@pytest.mark.parametrize(
    ('scores', 'message'),
    [
        (
            [[1.0, 2.0]],
            'score must return one number per image, 2 in all; it returned an'
            ' array of shape (1, 2).',
        ),
        (
            1.0,
            'score must return one number per image, 2 in all; it returned an'
            ' array of shape ().',
        ),
        (
            [1.0, np.nan],
            'score returned nan for image 1. Scores must be finite.',
        ),
        (
            [-np.inf, 1.0],
            'score returned -inf for image 0. Scores must be finite.',
        ),
    ],
)
def test_scores_that_are_none_are_refused(scores, message):
  with pytest.raises(ValueError) as error:
    selection.best_of(_attempt, lambda _: np.array(scores), _request([1, 2]), 2)
  assert str(error.value) == message


def _never(_):
  raise AssertionError('something was drawn')


@pytest.mark.parametrize('n', [0, -1, 2.5, 2.0, '2'])
def test_a_number_of_draws_that_is_none_is_refused(n):
  with pytest.raises(ValueError) as error:
    models.sampler().best_of(_KEY, n, _never, labels=[1])
  assert str(error.value) == f'n={n} must be a whole number of at least 1.'


@pytest.mark.parametrize('rate', [0, -0.5, 1.5, math.nan])
def test_a_rate_that_is_none_is_refused(rate):
  with pytest.raises(ValueError) as error:
    models.sampler().rejection_sample(_KEY, rate, _never, labels=[1])
  assert str(error.value) == (
      f'acceptance_rate={rate} must be in (0, 1]. 0.05 keeps one draw of 20.'
  )


def test_scores_of_the_caller_stay_as_they_are():
  kept = np.float32([3, 2, 1])
  selection.accepted(_attempt, lambda _: kept, _request([1, 1, 1]), 0.3)
  np.testing.assert_array_equal(kept, [3, 2, 1])
