"""A small tokenizer with random variables, and its inference copy."""

import functools

import jax
import numpy as np

from rq_jax import config as config_lib
from rq_jax.checkpoints import inference_copy
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.tokenizer import Tokenizer
from tests import folders

DEPTH, WORDS = 3, 10


@functools.cache
def config():
  model = dict(
      image_size=8,
      channels=8,
      channel_multipliers=(1, 2),
      res_blocks=1,
      attention_resolutions=(),
      z_channels=8,
      embed_dim=8,
      code_shape=(4, 4, DEPTH),
      codebook_size=WORDS,
      norm_groups=4,
  )
  return config_lib.check(
      dict(stage=1, data=dict(image_size=8), model=model, train=dict(steps=1))
  )


@functools.cache
def variables():
  """Random variables, drawn with NumPy because `init` compiles slowly."""
  model = build.rqvae(config().model)
  shapes = partitioning.unbox(build.rqvae_variables(model))
  rng = np.random.default_rng(2)
  return jax.tree.map(
      lambda leaf: rng.normal(
          0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape
      ).astype(leaf.dtype),
      shapes,
  )


@functools.cache
def folder():
  """An inference copy of the tokenizer."""
  path = folders.new() / 'rqvae'
  inference_copy.export(path, config(), variables())
  return path


@functools.cache
def restored():
  """The tokenizer, restored from its inference copy."""
  return Tokenizer.restore(folder(), verbose=False)


@functools.cache
def images():
  return np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)


@functools.cache
def codes():
  return np.random.default_rng(1).integers(0, WORDS, (2, 4, 4, DEPTH), np.int32)
