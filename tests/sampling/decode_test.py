"""The decode loop against whole forward passes, which know no caches."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import rqtransformer
from rq_jax.sampling import requests
from rq_jax.sampling.options import Sampling
from tests.sampling import models
from tests.sampling import reference

_BATCH = 8
_KEY = jax.random.key(5)
assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)
# Of the model of labels, which has four depths.
_OPTIONS = Sampling(
    temperature=[0.5, 1.0, 2.0, 0.8],
    top_k=[64, 5, 20, 30],
    top_p=[0.95, 1.0, 0.9, 0.5],
)
_LEARNED = dict(
    spatial_input='learned',
    depth_input='learned',
    cumulative_depth_input=False,
)
_PER_DEPTH = dict(_LEARNED, shared_embedding=False, shared_classifier=False)
_TEXT = dict(text_vocab_size=50, text_length=6)
VARIANTS = {
    'uncond': {},
    'class': dict(num_classes=10),
    'text': _TEXT,
    'unshared': dict(
        _PER_DEPTH, num_classes=10, attention_bias=False, gelu='sigmoid'
    ),
    'unshared_mlpnb': dict(
        _PER_DEPTH, **_TEXT, mlp_bias=False, depth_gelu='sigmoid'
    ),
    'unshared_vocabs': dict(_PER_DEPTH, codebook_size=(64, 48, 32, 16)),
    'mixed': dict(
        num_classes=10,
        shared_classifier=False,
        depth_input='learned',
        cumulative_depth_input=False,
    ),
    'mixed2': dict(spatial_input='learned', cumulative_depth_input=False),
    'd1': dict(_LEARNED, num_classes=10, code_shape=(4, 4, 1), depth_layers=0),
}
# There is no recording of a model with one code per stack.
_MORE = {'d1_codebook': dict(code_shape=(4, 4, 1), depth_layers=0)}


@functools.cache
def _prior(name, dtype='float32'):
  """A recorded variant, in small."""
  options = dict(
      code_shape=(2, 3, 4),
      codebook_size=40,
      embed_dim=8,
      width=16,
      heads=2,
      spatial_layers=1,
      depth_layers=1,
      dtype=dtype,
  )
  return rqtransformer.RQTransformer(**{**options, **(VARIANTS | _MORE)[name]})


@functools.cache
def _params(name):
  return models.random_variables(_prior(name))['params']


@functools.cache
def _words(prior):
  """Codewords, of one codebook or of one for each depth."""
  rng = np.random.default_rng(1)
  sizes = prior.sizes if len(set(prior.sizes)) > 1 else prior.sizes[:1]
  words = [rng.normal(size=(size, prior.embed_dim)) for size in sizes]
  return tuple(w.astype(np.float32) for w in words)


def _condition(prior, batch=_BATCH):
  return np.random.default_rng(2).integers(
      prior.condition_size, size=(batch, prior.condition_length), dtype=np.int32
  )


def _numbers(prior, indices=None):
  indices = np.arange(_BATCH) if indices is None else indices
  return requests.uniforms(_KEY, indices, prior.positions, prior.depth)


@functools.cache
def _drawn(name):
  """Codes, and the logits they were drawn from."""
  prior = _prior(name)
  codes, logits = models.draw(
      prior,
      _OPTIONS if name == 'class' else Sampling(),
      _params(name),
      _words(prior),
      _numbers(prior),
      _condition(prior),
  )
  return np.asarray(codes), np.asarray(logits)


@functools.cache
def _apply(prior):
  return jax.jit(prior.apply)


def _forward(prior, params, codes, condition, words):
  variables = {'params': params}
  return np.asarray(_apply(prior)(variables, codes, condition, words))


# The recordings in decode_parity_test cover the other variants.
@pytest.mark.parametrize(
    'name', ['class', 'mixed2', 'unshared_vocabs', 'd1_codebook']
)
def test_logits_are_those_of_one_forward_pass(name):
  prior = _prior(name)
  codes, logits = _drawn(name)
  assert codes.shape == (_BATCH, *prior.code_shape) and codes.dtype == np.int32
  expected = _forward(
      prior, _params(name), codes, _condition(prior), _words(prior)
  )
  assert_close(logits, expected)
  assert logits.dtype == np.float32
  # Codes that a smaller codebook does not have are never drawn.
  assert (codes >= 0).all() and (codes < np.array(prior.sizes)).all()
  assert len(np.unique(codes)) > 8


def _steps():
  """Where each depth's distribution functions step: float64[B, T, D, K]."""
  _, logits = _drawn('class')
  logits = logits.reshape(_BATCH, -1, *logits.shape[-2:])
  steps = np.empty(logits.shape)
  for d in range(logits.shape[2]):
    options = [
        _OPTIONS.by_depth(name, 4)[d]
        for name in ('temperature', 'top_k', 'top_p')
    ]
    flat = logits[:, :, d].reshape(-1, logits.shape[-1])
    steps[:, :, d] = (
        reference.probabilities(flat, *options)
        .cumsum(axis=-1)
        .reshape(steps[:, :, d].shape)
    )
  return steps


def test_numbers_stay_clear_of_all_steps():
  # Programs of other batch sizes may round logits differently. Where no number
  # is within 1e-5 of a step, codes do not depend on that, and the tests below
  # may compare codes exactly.
  distance = np.abs(_steps() - np.asarray(_numbers(_prior('class')))[..., None])
  assert distance.min() > 1e-5


def test_codes_are_drawn_with_the_options_of_their_depth():
  codes, _ = _drawn('class')
  numbers = np.asarray(_numbers(_prior('class')))
  expected = (_steps() <= numbers[..., None]).sum(axis=-1)
  np.testing.assert_array_equal(codes.reshape(expected.shape), expected)


def test_numbers_of_an_image_depend_on_its_index_alone():
  numbers = np.asarray(requests.uniforms(_KEY, np.array([7, 3, 7, 0]), 6, 4))
  assert numbers.shape == (4, 6, 4) and numbers.dtype == np.float32
  for row, index in zip(numbers, [7, 3, 7, 0]):
    key = jax.random.fold_in(_KEY, index)
    np.testing.assert_array_equal(row, jax.random.uniform(key, (6, 4)))
  assert len(np.unique(numbers)) == 3 * 6 * 4
  other = requests.uniforms(jax.random.key(6), np.array([7]), 6, 4)
  assert not np.isin(other, numbers).any()


@pytest.mark.parametrize('rows', [[5], [2, 7, 0]], ids=str)
def test_codes_of_an_image_do_not_depend_on_its_batch(rows):
  prior = _prior('class')
  codes, _ = models.draw(
      prior,
      _OPTIONS,
      _params('class'),
      _words(prior),
      _numbers(prior, np.array(rows)),
      _condition(prior)[rows],
  )
  np.testing.assert_array_equal(codes, _drawn('class')[0][rows])


def test_in_bfloat16_logits_are_near_those_of_float32():
  prior = _prior('class', 'bfloat16')
  params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), _params('class'))
  numbers, condition = _numbers(prior), _condition(prior)
  words = _words(_prior('class'))
  codes, logits = models.draw(
      prior, _OPTIONS, params, words, numbers, condition
  )
  assert logits.dtype == np.float32 and np.isfinite(logits).all()
  assert codes.min() >= 0 and codes.max() < 40
  expected = _forward(
      _prior('class'), _params('class'), codes, condition, words
  )
  error = np.abs(logits - expected).max() / expected.std()
  # Eight bits of mantissa, through two layers.
  assert 1e-4 < error < 0.1


@pytest.mark.slow
def test_whole_code_maps_follow_the_distribution_of_the_model():
  """All 81 maps of two stacks of two codes of three, by the chain rule."""
  prior = rqtransformer.RQTransformer(
      code_shape=(1, 2, 2),
      codebook_size=3,
      embed_dim=4,
      width=8,
      heads=2,
      spatial_layers=1,
      depth_layers=1,
  )
  params, words = models.random_variables(prior)['params'], _words(prior)
  maps = np.array(list(itertools.product(range(3), repeat=4)), np.int32)
  maps = maps.reshape(81, 1, 2, 2)
  logits = _forward(prior, params, maps, np.zeros((81, 1), np.int32), words)
  chances = reference.softmax(logits.reshape(-1, 3) / 1.5)
  chances = chances[np.arange(81 * 4), maps.ravel()].reshape(81, 4).prod(axis=1)
  assert abs(chances.sum() - 1) < 1e-5

  draws = 20_000
  codes, _ = models.draw(
      prior,
      Sampling(temperature=1.5),
      params,
      words,
      requests.uniforms(_KEY, np.arange(draws), 2, 2),
      np.zeros((draws, 1), np.int32),
  )
  found = np.asarray(codes).reshape(draws, 4) @ [27, 9, 3, 1]
  observed = np.bincount(found, minlength=81)
  expected = draws * chances
  statistic = np.sum((observed - expected) ** 2 / expected)
  # The draws are fixed; one of a thousand right samplers would fail.
  assert jax.scipy.stats.chi2.sf(statistic, 80) > 1e-3
  # The maps differ in probability, so that another order would be noticed.
  assert expected.min() > 5 and expected.max() / expected.min() > 3
