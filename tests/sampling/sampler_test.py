"""A sampler from a folder draws what its model and its tokenizer say."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.models import checks
from rq_jax.sampling import Sampler
from rq_jax.sampling import Sampling
from rq_jax.sampling import memory
from rq_jax.sampling import requests
from tests import tiny
from tests.sampling import models

_KEY = jax.random.key(1)
_LABELS = np.array([3, 7, 3, 0, 9, 1, 2, 5])


@pytest.fixture(scope='module')
def sampler(workdir):
  return Sampler.restore(str(workdir), verbose=False)


@pytest.fixture(scope='module')
def codes(sampler):
  return np.asarray(sampler.codes(_KEY, labels=_LABELS))


def test_codes_are_those_of_the_decode_loop(sampler, codes):
  expected, _ = models.draw(
      sampler.prior,
      Sampling(),
      sampler.prior_variables['params'],
      sampler.tokenizer.codebooks,
      requests.uniforms(_KEY, np.arange(8), 4, 2),
      _LABELS[:, None].astype(np.int32),
  )
  np.testing.assert_array_equal(codes, expected)
  assert codes.dtype == np.int32 and codes.shape == (8, *tiny.CODE_SHAPE)


def test_images_are_decoded_codes(sampler, codes):
  images = sampler(_KEY, labels=_LABELS)
  assert images.shape == (8, 16, 16, 3) and images.dtype == jnp.uint8
  np.testing.assert_array_equal(images, sampler.tokenizer.decode(codes))
  assert len(np.unique(np.asarray(images).reshape(8, -1), axis=0)) == 8


def test_codes_that_were_drawn_are_decoded_without_waiting(
    sampler, monkeypatch
):
  """The values of what a device still draws can only be checked afterwards."""

  def fail(*_):
    raise AssertionError('Codes were waited for.')

  monkeypatch.setattr(tokenizer_lib.Tokenizer, 'decode', fail)
  images = sampler(_KEY, labels=_LABELS)
  redraw = np.ones((tiny.SIZE, tiny.SIZE), bool)
  # `edit` checks the codes of the images that it is given, and no others.
  edited = sampler.edit(_KEY, images, redraw, labels=_LABELS)
  np.testing.assert_array_equal(edited, images)
  monkeypatch.setattr(checks, 'code_values', fail)
  np.testing.assert_array_equal(sampler(_KEY, labels=_LABELS), images)

  def score(images):
    return np.zeros(len(images))

  chosen = sampler.best_of(_KEY, 1, score, labels=_LABELS)
  np.testing.assert_array_equal(chosen.images, images)
  accepted = sampler.rejection_sample(_KEY, 1.0, score, labels=_LABELS)
  np.testing.assert_array_equal(accepted.images, images)


def test_the_first_index_shifts_the_images(sampler, codes):
  shifted = sampler.codes(_KEY, labels=np.roll(_LABELS, -2), first_index=2)
  np.testing.assert_array_equal(shifted[:6], codes[2:])
  assert not np.array_equal(shifted[6], codes[0])  # Same label, index 8.
  images = sampler(_KEY, labels=np.roll(_LABELS, -2), first_index=2)
  np.testing.assert_array_equal(images, sampler.tokenizer.decode(shifted))


def test_codes_depend_on_the_key_and_on_the_label(sampler, codes):
  other_key = sampler.codes(jax.random.key(2), labels=_LABELS)
  assert (np.asarray(other_key) != codes).any(axis=(1, 2, 3)).all()
  # The same numbers may fall on the same codes, but not in most images.
  labels = np.where(np.arange(8) == 0, _LABELS, (_LABELS + 1) % 10)
  other_label = np.asarray(sampler.codes(_KEY, labels=labels))
  np.testing.assert_array_equal(other_label[0], codes[0])
  assert (other_label[1:] != codes[1:]).any(axis=(1, 2, 3)).sum() > 3


def test_a_call_may_say_how_to_draw(sampler, codes):
  greedy = Sampling(top_k=1)
  asked = sampler.codes(_KEY, labels=_LABELS, sampling=greedy)
  logits = sampler.logits(asked, labels=_LABELS)
  np.testing.assert_array_equal(asked, np.argmax(logits, axis=-1))
  assert not np.array_equal(asked, codes)
  # Or the sampler itself.
  always = Sampler(
      prior=sampler.prior,
      prior_variables=sampler.prior_variables,
      tokenizer=sampler.tokenizer,
      sampling=greedy,
  )
  np.testing.assert_array_equal(always.codes(_KEY, labels=_LABELS), asked)
  np.testing.assert_array_equal(
      always(_KEY, labels=_LABELS), sampler.tokenizer.decode(asked)
  )
  np.testing.assert_array_equal(
      sampler(_KEY, labels=_LABELS, sampling=greedy),
      sampler.tokenizer.decode(asked),
  )
  np.testing.assert_array_equal(
      always.codes(_KEY, labels=_LABELS, sampling=Sampling()), codes
  )


def test_options_for_another_depth_are_refused(sampler):
  with pytest.raises(ValueError, match='this model has 2 depths'):
    sampler.codes(_KEY, labels=_LABELS, sampling=Sampling(top_k=(1, 2, 3)))


def test_logits_are_those_of_the_model(sampler, codes):
  logits = sampler.logits(codes, labels=_LABELS)
  expected = jax.jit(sampler.prior.apply)(
      models.run_variables(3),
      codes,
      _LABELS[:, None],
      models.random_tokenizer().codebooks,
  )
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
  with pytest.raises(ValueError, match=r'takes \[B, 2, 2, 2\]'):
    sampler.logits(codes[..., :1], labels=_LABELS)


@functools.cache
def _of_kind(**model):
  """A sampler of another kind of model, with random variables."""
  config = tiny.stage2_config(
      model=dict(num_classes=0, null_class=False, **model)
  )
  prior = build.rqtransformer(config.model)
  return Sampler(
      prior=prior,
      prior_variables=models.random_variables(prior),
      tokenizer=models.random_tokenizer(),
  )


def test_a_model_without_conditions_is_told_how_many():
  sampler = _of_kind()
  codes = sampler.codes(_KEY, num_images=8)
  assert codes.shape == (8, *tiny.CODE_SHAPE)
  np.testing.assert_array_equal(
      sampler(_KEY, num_images=8), sampler.tokenizer.decode(codes)
  )
  logits = sampler.logits(codes)
  assert logits.shape == (8, *tiny.CODE_SHAPE, tiny.WORDS)
  with pytest.raises(ValueError, match='takes num_images and nothing else'):
    sampler(_KEY, labels=[1, 2, 3])
  with pytest.raises(ValueError, match='takes num_images and nothing else'):
    sampler.logits(codes, labels=[1, 2, 3])


def test_a_model_of_texts_takes_tokens():
  sampler = _of_kind(text_vocab_size=9, text_length=3)
  tokens = np.tile([[1, 2, 3], [8, 2, 3]], (4, 1))
  codes = sampler.codes(_KEY, tokens=tokens)
  np.testing.assert_array_equal(
      sampler(_KEY, tokens=tokens), sampler.tokenizer.decode(codes)
  )
  logits = np.asarray(sampler.logits(np.zeros_like(codes), tokens=tokens))
  np.testing.assert_allclose(logits[0], logits[2], rtol=1e-5, atol=1e-5)
  # The first word is seen by all predictions.
  assert (np.abs(logits[0] - logits[1]).max(axis=-1) > 1e-3).all()
  for method in (sampler, sampler.codes):
    with pytest.raises(ValueError, match='it has no text tokenizer'):
      method(_KEY, prompts=['a cat'])
    with pytest.raises(ValueError, match='takes tokens and nothing else'):
      method(_KEY, labels=[1])
  with pytest.raises(ValueError, match='it has no text tokenizer'):
    sampler.logits(codes, prompts=['a cat'])


@pytest.mark.parametrize('kind', ['labels', 'tokens', 'prompts', 'num_images'])
def test_every_condition_is_passed_on(sampler, kind):
  wrong = dict(labels=[99], tokens=[[0]], prompts=['a'], num_images=1)
  # Labels are named for being out of range, the others for being there.
  for method in (sampler, sampler.codes):
    with pytest.raises(ValueError, match=f'(got |^){kind}[.=]'):
      method(_KEY, **{kind: wrong[kind]})


def test_on_a_mesh_the_same_is_drawn(workdir, codes):
  mesh = partitioning.make_mesh(dict(data=2, fsdp=2, model=2))
  spread = Sampler.restore(workdir, mesh=mesh, verbose=False)
  abstract = build.rqtransformer_variables(spread.prior)
  expected = partitioning.state_sharding(abstract, mesh)['params']
  params = spread.prior_variables['params']
  assert jax.tree.map(lambda p: p.sharding, params) == expected
  assert any(not p.is_fully_replicated for p in jax.tree.leaves(params))
  drawn = spread.codes(_KEY, labels=_LABELS)
  np.testing.assert_array_equal(drawn, codes)
  batch = partitioning.batch_sharding(mesh)
  assert drawn.sharding.is_equivalent_to(batch, drawn.ndim)
  images = np.asarray(spread(_KEY, labels=_LABELS), np.int32)
  alone = np.asarray(models.random_tokenizer().decode(codes), np.int32)
  # Sums over devices round otherwise: a pixel may be one level off.
  assert np.abs(images - alone).max() <= 1


def test_a_caller_may_jit_before_anything_was_drawn(workdir, codes):
  fresh = Sampler.restore(workdir, verbose=False)
  jitted = jax.jit(lambda key: fresh.codes(key, labels=_LABELS))(_KEY)
  np.testing.assert_array_equal(jitted, codes)
  # What was laid out while it was traced serves later calls.
  np.testing.assert_array_equal(fresh.codes(_KEY, labels=_LABELS), codes)


def test_checking_refuses_what_drawing_would(sampler, monkeypatch):
  sampler.check(labels=_LABELS)
  with pytest.raises(ValueError, match='labels=10 is out of range'):
    sampler.check(labels=[10])
  with pytest.raises(ValueError, match='has 2 depths'):
    sampler.check(labels=[1], sampling=Sampling(top_p=(0.5, 0.6, 0.7)))
  monkeypatch.setattr(memory, 'free_bytes', lambda device: 10)
  with pytest.raises(ValueError, match='at most 0 fit'):
    sampler.check(labels=[1])
