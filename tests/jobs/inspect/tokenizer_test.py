"""Figures of a tiny RQ-VAE, against NumPy."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.config import sections
from rq_jax.data import sources
from rq_jax.data import subset
from rq_jax.jobs.inspect import features
from rq_jax.jobs.inspect import tokenizer as measuring
from rq_jax.models import soft_targets
from tests import tokenizers

COUNT = 40  # One whole batch, and one that is filled up.
DATA = sections.Data(source='digits', image_size=8)


@functools.cache
def sample():
  source = sources.open_source(DATA, 'test')
  return subset.Subset(source, np.arange(COUNT) * 2)


@functools.cache
def described():
  return measuring.describe_split(tokenizers.restored(), DATA, sample(), 'x')


@functools.cache
def pixels():
  images = np.stack([sample()[i]['image'] for i in range(COUNT)])
  return images / np.float32(127.5) - 1


@functools.cache
def vectors():
  """Features of the images, float32[N, 4, 4, C]."""
  images = jnp.asarray(pixels(), jnp.float32)
  return np.asarray(tokenizers.restored().features(images))


def nearest(residual, words):
  """Codewords and codes of the closest codewords, by brute force."""
  distances = np.square(residual[..., None, :] - words).sum(axis=-1)
  codes = distances.argmin(axis=-1)
  return words[codes], codes


@functools.cache
def quantized():
  """Codes by depth, and the sum of codewords up to each depth."""
  (words,) = (np.asarray(b) for b in tokenizers.restored().codebooks)
  residual, codes, sums = vectors().astype(np.float64), [], []
  for _ in range(tokenizers.DEPTH):
    word, code = nearest(residual, words)
    residual = residual - word
    codes.append(code)
    sums.append(vectors() - residual)
  return codes, sums


def test_the_sample_holds_the_chosen_examples():
  assert len(sample()) == COUNT
  expected = sample().source[6]['image']
  np.testing.assert_array_equal(sample()[3]['image'], expected)
  found, _ = described()
  assert (found['images'], found['of']) == (COUNT, len(sample().source))


def test_the_use_of_codes_is_counted_by_depth():
  codes, _ = quantized()
  found, hits = described()
  expected = [np.bincount(c.ravel(), minlength=tokenizers.WORDS) for c in codes]
  np.testing.assert_array_equal(hits, expected)
  used = [len(np.unique(c)) / tokenizers.WORDS for c in codes]
  np.testing.assert_allclose(found['used'], used)
  for depth, code in enumerate(codes):
    shares = np.unique(code, return_counts=True)[1] / code.size
    perplexity = np.prod(shares**-shares)
    np.testing.assert_allclose(found['perplexity'][depth], perplexity)
  everything = len(np.unique(np.stack(codes))) / tokenizers.WORDS
  use = measuring.codebook_use(tokenizers.restored(), hits)
  assert use == pytest.approx(everything)


def test_the_quantization_error_is_relative_to_the_variance():
  _, sums = quantized()
  z = vectors().astype(np.float64)
  spread = np.square(z - z.mean(axis=(0, 1, 2))).sum()
  expected = [np.square(z - s).sum() / spread for s in sums]
  found, _ = described()
  np.testing.assert_allclose(found['quantization_error'], expected, rtol=1e-5)


def test_the_error_of_reconstructions_is_that_of_decoded_sums():
  _, sums = quantized()
  restored = tokenizers.restored()
  found, _ = described()
  for depth, summed in enumerate(sums):
    decoded = restored.model.apply(
        restored.variables, jnp.asarray(summed, jnp.float32), method='decode'
    )
    error = np.clip(np.asarray(decoded), -1, 1) - pixels()
    mse = np.square(error).mean()
    np.testing.assert_allclose(found['mse'][depth], mse, rtol=1e-4)
    psnr = 10 * np.log10(4 / mse)
    np.testing.assert_allclose(found['psnr'][depth], psnr, rtol=1e-4)


def test_the_scale_of_the_features_is_that_of_numpy(monkeypatch):
  seen, add = [], features.Features.add

  def record(self, batch):
    seen.append(batch)
    add(self, batch)

  monkeypatch.setattr(features.Features, 'add', record)
  found, _ = measuring.describe_split(
      tokenizers.restored(), DATA, sample(), 'x'
  )
  found = found['features']
  # The error of float16 depends on the last bit of each feature, which may
  # differ between two programs.
  z = np.concatenate(seen)
  np.testing.assert_allclose(z, vectors(), rtol=1e-5, atol=1e-6)
  z = z.astype(np.float64)
  expected = {
      'mean': z.mean(),
      'rms': np.sqrt(np.square(z).mean()),
      'variance': z.var(axis=(0, 1, 2)).sum(),
      'smallest': z.min(),
      'largest': z.max(),
  }
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-9)
  rounding = np.square(z.astype(np.float16).astype(np.float64) - z).sum()
  error = rounding / np.square(z - z.mean(axis=(0, 1, 2))).sum()
  np.testing.assert_allclose(found['float16_error'], error, rtol=1e-6)


def test_the_histogram_counts_every_value_also_those_outside():
  found = features.Features()
  found.add(np.array([[[[-1.0, 1.0]]]], np.float32))
  found.add(
      np.array([[[[9.0, -9.0, 0.1, 1.9]]]], np.float32).reshape(1, 1, 2, 2)
  )
  histogram = found.figures()['histogram']
  edges, counts = histogram['edges'], histogram['counts']
  assert (edges[0], edges[-1]) == (-4, 4)
  inside = [-4, -1, 0.1, 1, 1.9, 4]  # Values outside are moved to the ends.
  np.testing.assert_array_equal(counts, np.histogram(inside, edges)[0])


def test_an_overflow_of_float16_has_no_error_in_numbers():
  found = features.Features()
  found.add(np.array([[[[1e5, 1.0]], [[0.0, 0.0]]]], np.float32))
  assert found.figures()['float16_error'] is None


def test_the_temperature_is_that_of_the_rule_and_targets_get_smoother():
  source = sources.open_source(DATA, 'train')
  restored = tokenizers.restored()
  found = measuring.temperatures(restored, DATA, source)
  indices = soft_targets.chosen(len(source))
  images = np.stack([source[int(i)]['image'] for i in indices])
  z = np.asarray(restored.features(images)).reshape(-1, 8)
  assert found['vectors'] == len(z)
  books = restored.codebooks * tokenizers.DEPTH
  expected = soft_targets.suggest_temperature(z, books)
  np.testing.assert_allclose(found['suggested'], expected, rtol=1e-2)
  by_depth = np.array([p['by_depth'] for p in found['perplexity']])
  assert by_depth.shape == (len(measuring.MULTIPLES), tokenizers.DEPTH)
  assert np.all(np.diff(by_depth[:, 0]) > 0)
  assert np.all((by_depth >= 1) & (by_depth <= tokenizers.WORDS))
  at_one = found['perplexity'][measuring.MULTIPLES.index(1.0)]
  assert at_one['temperature'] == found['suggested']


def test_the_first_targets_have_the_perplexity_of_numpy():
  source = sources.open_source(DATA, 'train')
  found = measuring.temperatures(tokenizers.restored(), DATA, source)
  indices = soft_targets.chosen(len(source))
  images = np.stack([source[int(i)]['image'] for i in indices])
  z = np.asarray(tokenizers.restored().features(images), np.float64)
  z = z.reshape(-1, 8)
  (words,) = (np.asarray(b) for b in tokenizers.restored().codebooks)
  distances = np.square(z[:, None] - words).sum(axis=-1)
  weights = np.exp(-distances / found['suggested'])
  targets = weights / weights.sum(axis=1, keepdims=True)
  entropy = -(targets * np.log(np.maximum(targets, 1e-300))).sum(axis=1)
  at_one = found['perplexity'][measuring.MULTIPLES.index(1.0)]
  # The rule may use only a part of the vectors.
  np.testing.assert_allclose(
      at_one['by_depth'][0], np.exp(entropy.mean()), rtol=0.05
  )


def test_examples_show_every_class_first():
  found = measuring.examples(DATA, sample(), 12)
  assert found.shape == (12, 8, 8, 3) and found.dtype == np.uint8
  labels = [int(sample()[i]['label']) for i in range(COUNT)]
  firsts = [labels.index(label) for label in sorted(set(labels))]
  expected = np.stack([sample()[i]['image'] for i in firsts])
  np.testing.assert_array_equal(found[: len(firsts)], expected)
  assert 1 < len(firsts) < 12
