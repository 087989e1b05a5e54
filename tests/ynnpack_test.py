"""The programs of this package have the options that they are compiled with.

On CPUs, the options choose what YNNPACK computes. By default, it computes large
enough products, sums and convolutions.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.config import sections
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.sampling import programs
from rq_jax.sampling import requests
from rq_jax.sampling import weights
from rq_jax.sampling.options import Sampling
from rq_jax.training import stepping
from tests import tiny
from tests import ynnpack
from tests.jobs import generators
from tests.sampling import models

_BATCH = 64  # YNNPACK does not add up fewer rows of a small model.


def test_a_training_step_leaves_convolutions_to_eigen():
  def train_step(task, state, batch):
    images = jax.lax.conv_general_dilated(
        *(state, task, (1, 1), 'SAME'),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    return images, {'sums': jnp.sum(batch, axis=0)}

  mesh = tiny.one_device()
  step = stepping.jitted(
      train_step,
      sections.Train(),
      mesh=mesh,
      shardings=partitioning.replicated(mesh),
  )
  shapes = (3, 3, 32, 32), (2, 8, 8, 32), (64, 64)
  args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  by_default = jax.jit(train_step).lower(*args).compile()
  assert ynnpack.calls(by_default) == {'convolution', 'reduce'}
  assert ynnpack.calls(step.lower(*args).compile()) == {'reduce'}


@functools.cache
def _tokenizer():
  """A model whose convolutions YNNPACK would take, and its variables."""
  model = dict(
      image_size=8,
      channels=32,
      channel_multipliers=(1,),
      embed_dim=8 * 4 * 4,  # A patch of 4x4 features with 8 channels.
  )
  config = tiny.stage1_config(model=model, data=dict(image_size=8))
  model = build.rqvae(config.model)
  return model, partitioning.unbox(build.rqvae_variables(model))


def _lowered(program):
  """A program of the tokenizer, for two images."""
  model, variables = _tokenizer()
  given = functools.partial(
      jax.ShapeDtypeStruct,
      sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0]),
  )
  images = given((2, 8, 8, 3), jnp.float32)
  if program == 'features':
    return tokenizer_lib.lower_features(model, variables, images)
  if program == 'encode':
    return tokenizer_lib._encode.on('cpu').lower(model, variables, images)
  codes = given((2, *model.code_shape), jnp.int32)
  return tokenizer_lib.lower_decode(model, variables, codes)


@pytest.mark.parametrize('program', ['features', 'encode', 'decode'])
def test_a_tokenizer_leaves_convolutions_to_eigen(program):
  calls = ynnpack.calls(_lowered(program).compile())
  # Those of an attention are part of the call that adds up its weights.
  assert 'convolution' not in calls
  assert {'dot', 'reduce'} <= calls


def _sampling():
  """A sampler that reads texts, and the arguments of its programs."""
  sampler = models.sampler(**generators.TEXTS, width=64)
  prior = sampler.prior
  words = np.zeros((_BATCH, prior.condition_length), np.int32)
  request = requests.make(prior, words, Sampling())
  numbers = requests.uniforms(
      jax.random.key(0), request.indices, prior.positions, prior.depth
  )
  params = sampler.prior_variables['params']
  laid_out = weights.prepare(prior, params, sampler.tokenizer.codebooks)
  return prior, laid_out, request, numbers


def test_the_decode_loop_leaves_only_products_to_ynnpack():
  prior, laid_out, request, numbers = _sampling()
  loop = prior, laid_out, request, numbers
  drawn = programs.draw_maps.on('cpu').lower(*loop)
  begin = functools.partial(
      programs.start.on('cpu').lower, guided=False, mesh=None
  )
  started = begin(prior, laid_out, request.condition)
  progress = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), started.out_info
  )
  advanced = programs.advance.on('cpu').lower(*loop, progress, 0)
  for lowered in (drawn, started, advanced):
    assert ynnpack.calls(lowered.compile()) == {'dot'}
