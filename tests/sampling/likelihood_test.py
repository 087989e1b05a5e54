"""Log-likelihoods against the chain rule in float64 and the training loss."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from rq_jax.models import losses
from rq_jax.sampling import likelihood
from rq_jax.sampling.options import Sampling
from rq_jax.training import stage2
from tests import tiny
from tests.sampling import models
from tests.sampling import reference

_LABELS = np.array([3, 7, 0, 9, 1])


@functools.cache
def _codes():
  return np.random.default_rng(0).integers(
      12, size=(5, 2, 2, 2), dtype=np.int32
  )


@functools.cache
def _by_code():
  """Log-likelihood of each code, float64[B, T, D]."""
  logits = np.asarray(models.sampler().logits(_codes(), labels=_LABELS))
  chances = reference.softmax(logits).reshape(-1, 12)
  return np.log(chances[np.arange(40), _codes().ravel()]).reshape(5, 4, 2)


def test_nats_are_those_of_the_chain_rule():
  found = models.sampler().log_prob(_codes(), labels=_LABELS)
  expected = _by_code()
  assert_close = functools.partial(
      np.testing.assert_allclose, rtol=1e-5, atol=1e-5
  )
  assert_close(found.nats, expected.sum(axis=(1, 2)))
  assert_close(found.nats_by_depth, expected.sum(axis=1))
  assert_close(found.bits_per_code, -np.log2(np.e) * expected.mean(axis=(1, 2)))
  assert found.nats.shape == (5,) and found.nats.dtype == np.float32
  # They tell labels and codes apart.
  assert np.ptp(expected.sum(axis=(1, 2))) > 1
  other = models.sampler().log_prob(_codes(), labels=(_LABELS + 1) % 10)
  assert (np.abs(other.nats - found.nats) > 1e-3).all()


@pytest.mark.parametrize('chunks', [2, 4])
def test_the_number_of_chunks_does_not_matter(chunks, monkeypatch):
  expected = models.sampler().log_prob(_codes(), labels=_LABELS)
  asked = []

  def several(*args, **kwargs):
    asked.append((args, kwargs))
    return chunks

  monkeypatch.setattr(losses, 'num_position_chunks', several)
  likelihood.log_prob.clear_cache()
  found = models.sampler().log_prob(_codes(), labels=_LABELS)
  likelihood.log_prob.clear_cache()
  assert asked == [((5, 4, 2, 12), {})]
  for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_likelihoods_are_the_training_loss_of_hard_targets():
  checked = tiny.stage2_config(
      loss=dict(soft_targets=False, stochastic_codes=False)
  )
  task = tiny.stage2_task(checked)
  sampler = models.sampler()
  task = task.replace(
      tokenizer_variables=jax.device_put(sampler.tokenizer.variables)
  )
  by_code, _ = jax.jit(functools.partial(stage2.losses_by_code, task))(
      sampler.prior_variables['params'],
      _codes().reshape(5, 4, 2),
      np.zeros((5, 4, 2, 64), np.float32),  # Residuals, for soft targets.
      _LABELS[:, None],
  )
  found = sampler.log_prob(_codes(), labels=_LABELS)
  np.testing.assert_allclose(
      found.nats_by_depth, -by_code['loss'].sum(axis=1), rtol=1e-5, atol=1e-5
  )


def test_codebooks_of_several_sizes_share_all_the_chances():
  model = dict(
      code_shape=(1, 1, 2),
      codebook_size=(3, 2),
      embed_dim=4,
      depth_input='learned',
      spatial_input='learned',
      shared_embedding=False,
      shared_classifier=False,
  )
  sampler = models.sampler()
  prior = sampler.prior.clone(**model)
  codes = np.stack(np.meshgrid(range(3), range(2)), axis=-1).reshape(6, 1, 1, 2)
  found = likelihood.log_prob(
      prior,
      models.random_variables(prior),
      (),
      codes.astype(np.int32),
      np.full((6, 1), 4),
  )
  chances = np.exp(np.asarray(found.nats, np.float64))
  np.testing.assert_allclose(chances.sum(), 1, rtol=1e-5)
  assert np.ptp(chances) > 1e-3


def test_how_a_sampler_draws_does_not_matter():
  sampler = dataclasses.replace(
      models.sampler(), sampling=Sampling(temperature=0.1, guidance=3.0)
  )
  np.testing.assert_array_equal(
      sampler.log_prob(_codes(), labels=_LABELS).nats,
      models.sampler().log_prob(_codes(), labels=_LABELS).nats,
  )


def test_how_to_draw_is_not_asked_of_likelihoods():
  with pytest.raises(TypeError, match='sampling'):
    models.sampler().log_prob(_codes(), labels=_LABELS, sampling=Sampling())


def test_unconditional_models_need_nothing_but_codes():
  sampler = models.sampler(num_classes=0, null_class=False)
  found = sampler.log_prob(_codes())
  logits = np.asarray(sampler.logits(_codes())).reshape(-1, 12)
  chances = reference.softmax(logits)[np.arange(40), _codes().ravel()]
  expected = np.log(chances).reshape(5, 8).sum(axis=1)
  np.testing.assert_allclose(found.nats, expected, rtol=1e-5)


@pytest.mark.parametrize('dtype', [np.uint8, np.int8, np.int64])
@pytest.mark.parametrize('name', ['logits', 'log_prob'])
def test_a_model_gets_codes_of_32_bits(name, dtype, monkeypatch):
  """Narrower integers would overflow where depths have rows of one table."""
  given = []
  monkeypatch.setattr(
      likelihood, name, lambda *arguments: given.append(arguments[3])
  )
  getattr(models.sampler(), name)(_codes().astype(dtype), labels=_LABELS)
  assert given[0].dtype == np.int32
  np.testing.assert_array_equal(given[0], _codes())


def test_codes_that_are_none_are_refused():
  codes = _codes().copy()
  codes[1, 0, 1, 0] = -1
  for method in (models.sampler().log_prob, models.sampler().logits):
    with pytest.raises(ValueError, match=r'codes\[1, 0, 1, 0\] is -1'):
      method(codes, labels=_LABELS)
    with pytest.raises(
        ValueError, match='labels asks for 4 images, but you passed 5'
    ):
      method(_codes(), labels=_LABELS[:4])
    with pytest.raises(ValueError, match='takes labels and nothing else'):
      method(_codes())
