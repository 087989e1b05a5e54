"""Models to sample from: random, so that each of their parameters counts."""

import functools

import jax
import numpy as np

from rq_jax import partitioning
from rq_jax import tokenizer as tokenizer_lib
from rq_jax.sampling import building
from rq_jax.sampling import decode
from rq_jax.sampling import requests
from rq_jax.sampling import weights
from tests import tiny


def random_variables(prior, seed=0):
  """Variables of an RQ-Transformer."""
  abstract = building.abstract_variables(prior)
  return _random(abstract, np.random.default_rng(seed))


def options(prior, sampling):
  """Options of every draw of a model."""
  return sampling.resolve(prior.positions, prior.depth, max(prior.sizes))


def draw(prior, sampling, params, codebooks, numbers, condition, **known):
  """Codes, and the logits that each was drawn from."""
  return decode.draw_codes(
      prior,
      weights.prepare(prior, params, codebooks),
      options(prior, sampling),
      requests.make(prior, condition, numbers, **known),
      keep_logits=True,
  )


@functools.cache
def random_tokenizer(seed=0):
  """A tokenizer that decodes codes into noise."""
  config = tiny.stage1_config()
  model = tokenizer_lib.build_model(config)
  abstract = tokenizer_lib.abstract_variables(model)
  return tokenizer_lib.Tokenizer(
      model=model,
      variables=_random(abstract, np.random.default_rng(seed)),
      config=config,
  )


def _random(abstract, rng):
  return jax.tree.map(
      lambda p: rng.normal(scale=0.5, size=p.shape).astype(np.float32),
      partitioning.unbox(abstract),
  )
