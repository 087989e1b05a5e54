"""Differences between two generators are compared with NumPy."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.jobs.benchmark import precision
from rq_jax.sampling import Sampling
from tests.jobs import generators
from tests.sampling import models


class Recorder:
  """Draws fixed codes and returns fixed logits; records its arguments."""

  def __init__(self, prior, logits, level):
    self.prior, self.asked = prior, []
    self._logits = logits
    self.tokenizer = types.SimpleNamespace(
        decode=lambda codes: jnp.full((len(codes), 2, 2, 3), level, jnp.uint8)
    )

  def codes(self, key, *, first_index, sampling, **asked):
    assert sampling == Sampling()
    self.asked.append(('codes', first_index, asked))
    return np.zeros((2, 1, 1, 2), np.int32)

  def logits(self, codes, **asked):
    self.asked.append(('logits', asked))
    return self._logits[len(self.asked) // 3]


def compared(full, half, **options):
  return precision.compare(
      {'float32': full, 'bfloat16': half}.__getitem__, **options
  )


def drawn(logits, uniforms):
  """The inverse of the distribution function: [..., K], [...] -> [...]."""
  mass = np.exp(logits.astype(float))
  sums = np.cumsum(mass, axis=-1) / mass.sum(axis=-1, keepdims=True)
  return np.sum(sums <= uniforms[..., None], axis=-1)


def test_a_generator_does_not_differ_from_itself():
  sampler = models.sampler()
  found = compared(sampler, sampler, num_images=3, chunk_size=2)
  for values in (found.divergence, found.greedy_changed, found.drawn_changed):
    np.testing.assert_array_equal(values, np.zeros(2))
  assert found.pixels == 0


def test_differences_are_those_of_numpy_by_depth():
  rng = np.random.default_rng(0)
  full = rng.normal(size=(3, 2, 2, 2, 5)).astype(np.float32)
  half = full + rng.normal(size=full.shape, scale=[[0.3], [1.5]])
  half = half.astype(np.float32)
  key = jax.random.key(4)
  found = precision._differences(jnp.asarray(full), jnp.asarray(half), key)
  p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (full, half))
  uniforms = np.asarray(jax.random.uniform(key, full.shape[:-1]))
  expected = (
      np.sum(p * np.log(p / q), axis=-1),
      full.argmax(-1) != half.argmax(-1),
      drawn(full, uniforms) != drawn(half, uniforms),
  )
  for values, by_code in zip(found, expected, strict=True):
    means = by_code.mean(axis=(0, 1, 2))
    assert 0 < means[0] < means[1]
    np.testing.assert_allclose(values, means, rtol=1e-5)


def test_tiny_divergences_are_exact():
  rng = np.random.default_rng(3)
  exact = rng.normal(size=(8, 2, 2, 2, 99)).astype(np.float32)
  change = rng.normal(size=exact.shape, scale=[[1e-3], [1e-2]])
  rounded = (exact + change).astype(np.float32)
  found, _ = precision.differences(jnp.asarray(exact), jnp.asarray(rounded))
  p, q = (np.exp(x.astype(np.float64)) for x in (exact, rounded))
  p, q = (x / x.sum(axis=-1, keepdims=True) for x in (p, q))
  expected = np.sum(p * np.log(p / q), axis=-1).mean(axis=(0, 1, 2))
  assert expected[0] < 1e-6 < expected[1] < 1e-4
  np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_means_are_of_all_chunks_and_labels_are_taken_in_turn():
  prior = models.sampler().prior.clone(num_classes=3)
  rng = np.random.default_rng(1)
  first, second = rng.normal(size=(2, 2, 1, 1, 2, 4)).astype(np.float32)
  full = Recorder(prior, [first, second, first], level=7)
  half = Recorder(prior, [], level=10)
  # Equal in the first chunk, and reversed in the second.
  others = iter([first, second[..., ::-1]])
  half.logits = lambda codes, **asked: next(others)
  found = compared(full, half, num_images=3, chunk_size=2, seed=6)
  asked = [{'labels': [0, 1]}, {'labels': [2, 0]}]
  assert [call[0] for call in full.asked] == ['codes', 'logits'] * 2
  for i, call in enumerate(full.asked):
    np.testing.assert_array_equal(call[-1]['labels'], asked[i // 2]['labels'])
  assert [call[1] for call in full.asked[::2]] == [0, 2]
  p = np.exp(second) / np.exp(second).sum(-1, keepdims=True)
  divergence = np.sum(p * np.log(p / p[..., ::-1]), axis=-1)
  np.testing.assert_allclose(
      found.divergence, divergence.mean(axis=(0, 1, 2)) / 2, rtol=1e-5
  )
  np.testing.assert_array_equal(found.greedy_changed, [0.5, 0.5])
  uniforms = jax.random.uniform(
      jax.random.fold_in(jax.random.key(6), 2), (2, 1, 1, 2)
  )
  changed = drawn(second, np.asarray(uniforms)) != drawn(
      second[..., ::-1], np.asarray(uniforms)
  )
  np.testing.assert_allclose(
      found.drawn_changed, changed.mean(axis=(0, 1, 2)) / 2
  )
  assert found.pixels == 3  # Not 253, as with unsigned numbers.


@pytest.mark.parametrize(
    ('model', 'expected'),
    [
        (dict(num_classes=3), {'labels': [2, 0, 1, 2]}),
        (
            dict(num_classes=0, text_vocab_size=7, text_length=2),
            {'tokens': [[4, 5], [6, 0], [1, 2], [3, 4]]},
        ),
        (dict(num_classes=0), {'num_images': 4}),
    ],
)
def test_a_model_is_asked_for_what_it_takes(model, expected):
  prior = models.sampler().prior.clone(**model)
  first = 2
  asked = precision._asked(prior, first, 4)
  assert list(asked) == list(expected)
  for name, values in expected.items():
    np.testing.assert_array_equal(asked[name], values)


@pytest.mark.parametrize('model', [generators.TEXTS, generators.NOTHING])
def test_models_without_classes_are_compared(model):
  sampler = models.sampler(**model)
  found = compared(sampler, sampler, num_images=2, chunk_size=2)
  np.testing.assert_array_equal(found.divergence, np.zeros(2))


def test_logits_are_asked_for_without_a_number_of_images():
  prior = models.sampler(**generators.NOTHING).prior
  logits = [np.zeros((2, 1, 1, 2, 4), np.float32)]
  full, half = (Recorder(prior, logits, level=0) for _ in range(2))
  compared(full, half, num_images=2, chunk_size=2)
  assert full.asked == [('codes', 0, {'num_images': 2}), ('logits', {})]
  assert half.asked == [('logits', {})]


def test_the_table_has_a_column_for_each_depth():
  found = precision.Precision(
      divergence=np.array([0.00123, 2.5]),
      greedy_changed=np.array([0.015, 0.25]),
      drawn_changed=np.array([0.5, 1.0]),
      pixels=1.375,
  )
  assert precision.table(found) == '\n'.join(
      [
          '| | depth 1 | depth 2 |',
          '|---|---|---|',
          '| KL divergence, nats | 0.00123 | 2.5 |',
          '| most likely code changed, % | 1.5 | 25 |',
          '| drawn code changed, % | 50 | 100 |',
          '',
          'Decoded pixels differ by 1.38 of 255 levels.',
      ]
  )
