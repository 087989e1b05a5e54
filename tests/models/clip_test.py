"""CLIP against a recording of Hugging Face's, with random weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import clip_inputs
from tests import clip_recorded

MODELS = [
    'tiny',
    pytest.param('b32', marks=pytest.mark.slow),
]
LENGTH = 12


@functools.cache
def made(name):
  """Embeddings of the recorded images and texts, and the logits."""
  module, variables = clip_recorded.model(name)
  images = clip_inputs.images(3, module.image_size)
  tokens = clip_inputs.tokens(module.vocab_size, LENGTH)

  @jax.jit
  def run(variables):
    return (
        module.apply(variables, images, method='image'),
        module.apply(variables, tokens, method='text'),
        module.apply(variables, images, tokens),
    )

  return run(variables)


def assert_recorded(values, name):
  expected = clip_recorded.arrays()[name]
  assert values.dtype == jnp.float32
  scale = np.max(np.abs(expected))
  np.testing.assert_allclose(
      values / scale, expected / scale, rtol=1e-5, atol=1e-5
  )


@pytest.mark.parametrize('name', MODELS)
def test_embeddings_of_images_are_the_recorded_ones(name):
  assert_recorded(made(name)[0], f'{name}/image')


@pytest.mark.parametrize('name', MODELS)
def test_embeddings_of_texts_are_the_recorded_ones(name):
  assert_recorded(made(name)[1], f'{name}/text')


@pytest.mark.parametrize('name', MODELS)
def test_logits_are_the_recorded_ones(name):
  assert_recorded(made(name)[2], f'{name}/logits')
