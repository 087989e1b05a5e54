"""Soft targets: temperature and perplexity, against closed forms."""

import jax
import numpy as np
import pytest

from rq_jax.models import quantizer
from rq_jax.models import soft_targets
from tests import tiny


def corners(size, channels=3):
  """Codewords at the same distance from the origin and from each other."""
  return np.eye(max(size, channels))[:size]


def test_targets_at_equal_distances_are_uniform():
  books = (corners(5, 5), corners(7, 5)[:, :5])
  found = soft_targets.target_perplexity(
      np.zeros((4, 5)), books[:1], temperature=0.1
  )
  np.testing.assert_allclose(found, [5])


def test_perplexity_of_two_codewords_is_that_of_a_logistic_function():
  # Distances from 0 to -1 and 2 are 1 and 4; p is the share of the farther one.
  book, temperature = np.array([[-1.0], [2.0]]), 1.5
  p = 1 / (1 + np.exp((4 - 1) / temperature))
  entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
  found = soft_targets.target_perplexity(np.zeros((3, 1)), [book], temperature)
  np.testing.assert_allclose(found, [np.exp(entropy)])


def test_perplexity_goes_from_1_to_the_number_of_codewords():
  rng = np.random.default_rng(0)
  vectors, book = rng.normal(size=(50, 4)), rng.normal(size=(9, 4))
  cold, warm, hot = (
      soft_targets.target_perplexity(vectors, [book] * 3, temperature)
      for temperature in (1e-6, 1.0, 1e6)
  )
  np.testing.assert_allclose(cold, 1, atol=1e-3)
  assert np.all((cold < warm) & (warm < hot))
  np.testing.assert_allclose(hot, 9, rtol=1e-3)


def test_later_depths_see_the_residual_of_a_drawn_code():
  """With cold targets, that of the nearest codeword."""
  book = np.array([[0.0, 0.0], [4.0, 0.0]])
  vectors = np.array([[4.5, 0.0]])  # Its residual is (0.5, 0).
  p = 1 / (1 + np.exp((3.5**2 - 0.5**2) / 2.0))
  entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
  found = soft_targets.target_perplexity(vectors, [book, book], 2.0)
  np.testing.assert_allclose(found[1], np.exp(entropy), rtol=1e-6)


def test_residuals_follow_from_codes_drawn_from_the_targets():
  books, temperature = ([[-1.0], [2.0]], [[0.0], [1.0]]), 1.5
  p = 1 / (1 + np.exp((4 - 1) / temperature))  # Of the codeword 2.

  def entropy(residual):
    share = 1 / (1 + np.exp((1 - 2 * residual) / temperature))  # Of 1.
    return -share * np.log(share) - (1 - share) * np.log(1 - share)

  count = 1024
  found = soft_targets.target_perplexity(
      np.zeros((count, 1)), np.array(books), temperature
  )
  near, far = entropy(1.0), entropy(-2.0)
  # Four standard deviations of the share of far codes among all draws.
  deviation = abs(near - far) * np.sqrt(p * (1 - p) / count)
  expected = (1 - p) * near + p * far
  assert abs(np.log(found[1]) - expected) < 4 * deviation < abs(near - expected)


def test_of_many_vectors_some_are_measured_evenly_spaced():
  rng = np.random.default_rng(0)
  vectors, book = np.sort(rng.normal(size=(2048, 2)), 0), rng.normal(
      size=(9, 2)
  )
  for measure in (
      lambda x: soft_targets.target_perplexity(x, [book] * 2, 0.5),
      lambda x: soft_targets.suggest_temperature(x, [book]),
  ):
    np.testing.assert_array_equal(measure(vectors), measure(vectors[::2]))


def test_perplexity_is_that_of_the_targets_of_training():
  rng = np.random.default_rng(0)
  model = quantizer.ResidualQuantizer(
      features_shape=(2, 2, 3), code_shape=(2, 2, 2), codebook_size=6
  )
  z = rng.normal(size=(5, 2, 2, 3)).astype(np.float32)
  variables = model.init(jax.random.key(0), z)
  logits = model.apply(
      variables, z[..., None, :].repeat(2, axis=3), temperature=0.7,
      method='target_logits',
  )  # fmt: skip
  targets = np.asarray(jax.nn.softmax(logits), np.float64)[..., 0, :]
  entropy = -np.sum(targets * np.log(targets), axis=-1).mean()
  book = np.asarray(variables['codebook']['shared'].embedding)
  found = soft_targets.target_perplexity(z.reshape(-1, 3), [book] * 2, 0.7)
  np.testing.assert_allclose(found[0], np.exp(entropy), rtol=1e-5)


def test_the_suggested_temperature_gives_a_perplexity_of_4():
  rng = np.random.default_rng(0)
  vectors, book = rng.normal(size=(500, 4)), rng.normal(size=(64, 4))
  suggested = soft_targets.suggest_temperature(vectors, [book] * 2)
  distances = np.square(vectors[:, None] - book).sum(axis=-1)
  targets = np.exp(-distances / suggested)
  targets /= targets.sum(axis=1, keepdims=True)
  entropy = -np.sum(targets * np.log(np.maximum(targets, 1e-99)), axis=1)
  np.testing.assert_allclose(np.exp(entropy.mean()), 4, rtol=5e-3)
  assert suggested == float(f'{suggested:.3g}')


def test_the_suggested_temperature_has_the_scale_of_squared_distances():
  rng = np.random.default_rng(0)
  vectors, book = rng.normal(size=(500, 4)), rng.normal(size=(64, 4))
  once = soft_targets.suggest_temperature(vectors, [book])
  twice = soft_targets.suggest_temperature(10 * vectors, [10 * book])
  np.testing.assert_allclose(twice, 100 * once, rtol=5e-3)


def test_two_codewords_share_targets_with_a_perplexity_of_three_halves():
  # With distances 1 and 4, exp(entropy) of the logistic function is 1.5.
  found = soft_targets.suggest_temperature(
      np.zeros((3, 1)), [np.array([[-1.0], [2.0]])]
  )
  p = 1 / (1 + np.exp(3 / found))
  entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
  np.testing.assert_allclose(np.exp(entropy), 1.5, rtol=5e-3)


def test_codewords_that_do_not_differ_are_refused():
  with pytest.raises(ValueError, match='the codewords do not differ'):
    soft_targets.suggest_temperature(np.ones((3, 2)), [np.zeros((5, 2))])


def test_vectors_and_codebooks_of_a_tokenizer():
  tokenizer = tiny.untrained_tokenizer()
  features = tokenizer.features(tiny.images())
  vectors, books = soft_targets.of_tokenizer(
      tokenizer.model, tokenizer.variables, features
  )
  folded = tokenizer.model.make_quantizer().fold(features)
  np.testing.assert_array_equal(vectors, folded.reshape(-1, 64))
  assert len(books) == 2  # The shared codebook, once for each depth.
  for book in books:
    np.testing.assert_array_equal(book, tokenizer.codebooks[0])


@pytest.mark.parametrize(
    ('count', 'found'), [(3, [0, 1, 2]), (512, list(range(0, 512, 2)))]
)
def test_examples_are_spread_over_the_data(count, found):
  assert soft_targets.chosen(count) == found
