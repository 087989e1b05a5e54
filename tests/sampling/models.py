"""Models to sample from: random, so that each of their parameters counts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax import sampling
from rq_jax import tokenizer as tokenizer_lib
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.models import few_rows
from rq_jax.sampling import programs
from rq_jax.sampling import requests
from rq_jax.sampling import weights
from tests import tiny


def random_variables(prior, seed=0):
  """Variables of an RQ-Transformer."""
  abstract = build.rqtransformer_variables(prior)
  return _random(abstract, np.random.default_rng(seed))


@functools.cache
def run_variables(seed=0):
  """Variables of a run of `tiny.stage2_config`."""
  return random_variables(build.rqtransformer(tiny.stage2_config().model), seed)


def draw(prior, how, params, codebooks, numbers, condition, **known):
  """Codes, and the logits that each was drawn from."""
  return programs.draw_maps(
      prior,
      weights.prepare(prior, params, codebooks),
      requests.make(prior, condition, how).replace(**known),
      numbers,
      keep_logits=True,
  )


def as_trained(path, parameter):
  """An array of the decode loop, with the axes that it has in training."""
  if not isinstance(parameter, few_rows.Kernel):
    return parameter
  assert parameter.outputs_first
  layer = [key.key for key in path[-2:-1]]
  summed = 2 if layer == ['out'] else 1
  return jnp.moveaxis(parameter.values, range(-summed, 0), range(summed))


@functools.cache
def random_tokenizer(seed=0):
  """A tokenizer that decodes codes into noise."""
  config = tiny.stage1_config()
  model = build.rqvae(config.model)
  abstract = build.rqvae_variables(model)
  return tokenizer_lib.Tokenizer(
      model=model,
      variables=_random(abstract, np.random.default_rng(seed)),
  )


@functools.cache
def sampler(**model):
  """A sampler of the tiny experiment, with changes of its model."""
  prior = build.rqtransformer(tiny.stage2_config(model=model).model)
  return sampling.Sampler(
      prior=prior,
      prior_variables=random_variables(prior),
      tokenizer=random_tokenizer(),
  )


@functools.cache
def on_mesh(mesh, **model):
  """The same sampler, its parameters split over a mesh."""
  alone = sampler(**model)
  abstract = build.rqtransformer_variables(alone.prior)
  return dataclasses.replace(
      alone,
      prior_variables=jax.device_put(
          alone.prior_variables, partitioning.state_sharding(abstract, mesh)
      ),
      tokenizer=dataclasses.replace(
          alone.tokenizer,
          variables=jax.device_put(
              alone.tokenizer.variables, partitioning.replicated(mesh)
          ),
      ),
      mesh=mesh,
  )


@functools.cache
def forward(prior):
  """The whole forward pass, which knows neither caches nor guidance."""
  return jax.jit(prior.apply)


def _random(abstract, rng):
  return jax.tree.map(
      lambda p: rng.normal(scale=0.5, size=p.shape).astype(np.float32),
      partitioning.unbox(abstract),
  )
