"""Greedy codes and their images are the recorded ones of the official code."""

import functools

import jax
import numpy as np
import pytest

from rq_jax.models import build
from rq_jax.sampling import requests
from rq_jax.sampling.options import Sampling
from tests import official
from tests.sampling import models

pytestmark = pytest.mark.slow
assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)


@pytest.mark.parametrize('name', official.RQTRANSFORMERS)
def test_greedy_codes_are_the_official_ones(name):
  recorded = _recorded(name)
  codes, logits = _greedy(name)
  np.testing.assert_array_equal(codes, recorded['greedy'])
  np.testing.assert_array_equal(codes, logits.argmax(axis=-1))
  assert_close(logits, recorded['greedy_logits'])


def _recorded(name):
  recorded = official.recording(f'rqtransformer_{name}')
  if 'greedy' not in recorded:
    pytest.skip('the official sampler fails for codebooks of several sizes')
  return recorded


@functools.cache
def _greedy(name):
  prior = build.rqtransformer(official.config(f'rqtransformer_{name}').model)
  partner = official.codebooks(official.weights('rqvae_aux'), 4)
  codes, logits = models.draw(
      prior,
      Sampling(top_k=1),
      official.variables(f'rqtransformer_{name}')['params'],
      (partner['shared'].embedding,),
      requests.uniforms(
          jax.random.key(5), np.arange(2), prior.positions, prior.depth
      ),
      _recorded(name).get('cond', np.zeros((2, 1))).astype(np.int32),
  )
  return np.asarray(codes), np.asarray(logits)


@pytest.mark.parametrize('name', ['uncond', 'class', 'text', 'mixed'])
def test_images_of_greedy_codes_are_the_official_ones(name):
  recorded = _recorded(name)
  model = build.rqvae(official.config('rqvae_aux').model)
  images = jax.jit(functools.partial(model.apply, method='decode_codes'))(
      official.variables('rqvae_aux'), _greedy(name)[0]
  )
  assert_close(images, official.images(recorded['greedy_decoded']))
