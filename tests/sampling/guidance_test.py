"""Guidance against whole passes with the condition and with the null class."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from rq_jax.models import rqtransformer
from rq_jax.sampling import programs
from rq_jax.sampling import requests
from rq_jax.sampling.options import Sampling
from tests.sampling import models
from tests.sampling import reference

_BATCH, _T, _D, _K = 4, 6, 2, 12
_KEY = jax.random.key(3)
_KINDS = {
    'class': dict(num_classes=10),
    'text': dict(text_vocab_size=10, text_length=3),
}
# How much of the way from 1 to the scale is gone at each position.
_GROWN = {
    'constant': np.ones(_T),
    'linear': np.array([0, 0.2, 0.4, 0.6, 0.8, 1]),
    'cosine': np.sin(np.pi / 2 * np.array([0, 0.2, 0.4, 0.6, 0.8, 1])) ** 2,
}
_SCALES = np.array([3.0, 0.5])


@functools.cache
def _prior(kind):
  return rqtransformer.RQTransformer(
      code_shape=(2, 3, _D),
      codebook_size=_K,
      embed_dim=8,
      width=16,
      heads=2,
      spatial_layers=1,
      depth_layers=1,
      null_class=True,
      **_KINDS[kind],
  )


@functools.cache
def _params(kind):
  return models.random_variables(_prior(kind))['params']


@functools.cache
def _words():
  rng = np.random.default_rng(1)
  return (rng.normal(size=(_K, 8)).astype(np.float32),)


def _condition(kind):
  shape = (_BATCH, _prior(kind).condition_length)
  return np.random.default_rng(2).integers(10, size=shape, dtype=np.int32)


def _numbers():
  return requests.uniforms(_KEY, np.arange(_BATCH), _T, _D)


@functools.cache
def _drawn(kind, sampling, null=False):
  """Codes, and the logits that each was drawn from."""
  condition = _condition(kind)
  drawn = models.draw(
      _prior(kind),
      sampling,
      _params(kind),
      _words(),
      _numbers(),
      np.full_like(condition, 10) if null else condition,
  )
  return tuple(map(np.asarray, drawn))


def _pass(kind, codes, condition):
  logits = models.forward(_prior(kind))(
      {'params': _params(kind)}, codes, condition, _words()
  )
  return np.asarray(logits, np.float64).reshape(_BATCH, _T, _D, _K)


@pytest.mark.parametrize('kind', _KINDS)
@pytest.mark.parametrize('schedule', _GROWN)
def test_logits_lie_on_the_line_through_both_passes(kind, schedule):
  sampling = Sampling(guidance=(3.0, 0.5), guidance_schedule=schedule)
  codes, logits = _drawn(kind, sampling)
  conditional = _pass(kind, codes, _condition(kind))
  null = _pass(kind, codes, np.full_like(_condition(kind), 10))
  scales = 1 + (_SCALES - 1) * _GROWN[schedule][:, None]  # [T, D]
  np.testing.assert_allclose(
      logits.reshape(conditional.shape),
      null + scales[..., None] * (conditional - null),
      rtol=1e-4,
      atol=1e-4,
  )
  assert np.abs(conditional - null).max() > 1
  assert logits.dtype == np.float32


def test_what_is_filtered_are_guided_logits():
  sampling = Sampling(
      temperature=(0.5, 2.0), top_k=(5, 8), top_p=0.9, guidance=(3.0, 0.5)
  )
  codes, logits = _drawn('class', sampling)
  codes = codes.reshape(_BATCH, _T, _D)
  logits = logits.reshape(_BATCH, _T, _D, _K)
  for d, (temperature, k) in enumerate([(0.5, 5), (2.0, 8)]):
    flat = logits[:, :, d].reshape(-1, _K)
    steps = reference.probabilities(flat, temperature, k, 0.9).cumsum(axis=-1)
    numbers = np.asarray(_numbers())[:, :, d].reshape(-1, 1)
    assert np.abs(steps - numbers).min() > 1e-5
    np.testing.assert_array_equal(
        codes[:, :, d].ravel(), (steps <= numbers).sum(axis=-1)
    )


def test_a_scale_of_one_is_no_guidance_bit_for_bit_and_the_same_program():
  draw_maps = programs.draw_maps.on('cpu')
  plain = _drawn('class', Sampling())
  count = draw_maps._cache_size()
  for scale in (1, 1.0, (1.0, 1.0)):
    one = _drawn('class', Sampling(guidance=scale, guidance_schedule='cosine'))
    for a, b in zip(one, plain):
      np.testing.assert_array_equal(a, b)
  assert draw_maps._cache_size() == count


def test_a_scale_of_zero_draws_with_the_null_class():
  for kind in _KINDS:
    codes, logits = _drawn(kind, Sampling(guidance=0))
    null_codes, null_logits = _drawn(kind, Sampling(), null=True)
    np.testing.assert_array_equal(codes, null_codes)
    np.testing.assert_allclose(logits, null_logits, rtol=1e-4, atol=1e-4)
    assert not np.array_equal(codes, _drawn(kind, Sampling())[0])


def test_other_values_need_no_other_program():
  def of(**values):
    values = dict(temperature=0.9, top_k=7, top_p=0.8, guidance=2.0) | values
    return _drawn('class', Sampling(**values))

  draw_maps = programs.draw_maps.on('cpu')
  first = of()
  count = draw_maps._cache_size()
  for values in (
      dict(temperature=(2.0, 1.0)),
      dict(top_k=3),
      dict(top_p=(0.5, 0.9)),
      dict(guidance=(4.0, 1.0)),
      dict(guidance_schedule='linear'),
  ):
    # Each value counts, all the same.
    assert not all(map(np.array_equal, of(**values), first))
  assert draw_maps._cache_size() == count
  of(top_p=(0.5, 1.0))  # Nothing is to be filtered at the second depth.
  assert draw_maps._cache_size() == count + 1


def test_images_are_guided_by_their_own_condition():
  sampler = models.sampler()
  guided = Sampling(guidance=3.0, guidance_schedule='linear')
  labels = [3, 7, 0]
  together = sampler.codes(_KEY, labels=labels, sampling=guided)
  for i, label in enumerate(labels):
    alone = sampler.codes(_KEY, labels=[label], sampling=guided, first_index=i)
    np.testing.assert_array_equal(alone[0], together[i])
  always = dataclasses.replace(sampler, sampling=guided)
  np.testing.assert_array_equal(always.codes(_KEY, labels=labels), together)
  assert not np.array_equal(sampler.codes(_KEY, labels=labels), together)


_NO_NULL = (
    'guidance needs a null class, which this model does not have. Train a model'
    ' with --config.model.null_class=True and --config.loss.label_dropout=0.1'
    ' (you can start from this one with --config.init_from), or leave guidance'
    ' at 1.'
)
_NO_CONDITION = (
    'guidance strengthens a condition, but this model is unconditional. Leave'
    ' guidance at 1.'
)


@pytest.mark.parametrize(
    ('model', 'asked', 'message'),
    [
        (dict(), dict(labels=[1]), _NO_NULL),
        (dict(num_classes=0), dict(num_images=1), _NO_CONDITION),
    ],
    ids=['null class', 'condition'],
)
def test_a_model_with_nothing_to_guide_by_is_refused(model, asked, message):
  sampler = dataclasses.replace(models.sampler(null_class=False, **model))
  codes = np.zeros((1, 2, 2, 2), np.int32)
  keep = np.zeros((2, 2), bool)
  images = np.zeros((1, 16, 16, 3), np.uint8)
  for name, given in (
      ('__call__', ()),
      ('codes', ()),
      ('complete', (codes, keep)),
      ('edit', (images, np.ones((16, 16), bool))),
      ('stream', ()),
      ('best_of', (2, None)),
      ('rejection_sample', (0.5, None)),
  ):
    with pytest.raises(ValueError) as error:
      getattr(sampler, name)(
          _KEY, *given, **asked, sampling=Sampling(guidance=2.0)
      )
    assert str(error.value) == message
  # Not even weights were laid out.
  assert 'weights' not in vars(sampler.engine)
