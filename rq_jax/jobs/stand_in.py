"""Models with random weights for timing, and what to ask of them.

They are as fast as trained ones.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax import config as config_lib
from rq_jax.config import RQTransformerConfig
from rq_jax.config import RQVAEConfig
from rq_jax.config import reading
from rq_jax.config import recipes
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.models import rqtransformer
from rq_jax.sampling import Sampler
from rq_jax.tokenizer import Tokenizer
from rq_jax.typing import PyTree

_PIXELS = 256  # Shorter side of the images.
_SMALL = 2**20  # Numbers of a leaf that is made on the host.


def sampler(
    prior_config: RQTransformerConfig,
    tokenizer_config: RQVAEConfig,
    dtype: str,
    seed: int = 0,
) -> Sampler:
  """A generator of these networks with random weights.

  Args:
    prior_config: Description of the RQ-Transformer.
    tokenizer_config: Description of the RQ-VAE; see `find_tokenizer`.
    dtype: Type of weights and computation, 'float32' or 'bfloat16'; codewords
      are always float32.
    seed: Seed of the weights.
  """
  prior = build.rqtransformer(prior_config, dtype)
  model = build.rqvae(tokenizer_config, dtype)
  abstract = build.rqtransformer_variables(prior)
  params = in_dtype(abstract['params'], dtype)
  pair = dict(build.rqvae_variables(model))
  pair['params'] = in_dtype(pair['params'], dtype)
  return Sampler(
      prior=prior,
      prior_variables={'params': draw(params, seed)},
      tokenizer=Tokenizer(
          model=model,
          variables=draw(partitioning.unbox(pair), seed + 1),
      ),
  )


def draw(
    abstract: PyTree,
    seed: int,
    scale: Callable[[jax.ShapeDtypeStruct], float] = lambda leaf: 0.02,
) -> PyTree:
  """Normal numbers in the shapes and dtypes of a tree.

  Large leaves are made on the device, one at a time and directly in their
  dtype, so that this needs little more memory than the tree itself. Small ones
  are made on the host, because each shape would be one more program to compile.

  Raises:
    ValueError: If the seed is not in [0, 2**32).
  """
  config_lib.check_seed(seed)
  leaves, structure = jax.tree.flatten(abstract)
  keys = jax.random.split(jax.random.key(seed), len(leaves))
  rng = np.random.default_rng(seed)
  drawn = [
      _normal(leaf.shape, leaf.dtype, scale(leaf), key)
      if leaf.size > _SMALL
      else jnp.asarray(rng.normal(0, scale(leaf), leaf.shape), leaf.dtype)
      for key, leaf in zip(keys, leaves)
  ]
  return jax.tree.unflatten(structure, drawn)


def load_tokenizer(path: str, prior: RQTransformerConfig) -> RQVAEConfig:
  """The RQ-VAE of a configuration file, for a prior.

  Raises:
    ValueError: If the file describes no RQ-VAE, or one with other codes than
      those of the prior.
  """
  loaded = config_lib.load_model(path, flag='--tokenizer_config')
  if not isinstance(loaded, RQVAEConfig):
    raise ValueError(
        f'--tokenizer_config={path} describes no RQ-VAE. Give the file of a'
        ' stage-1 experiment.'
    )
  ours, theirs = _of_prior(prior), build.codes_of(build.rqvae(loaded))
  if ours != theirs:
    raise ValueError(
        f'--tokenizer_config={path} describes an RQ-VAE with {theirs}, but the'
        f' RQ-Transformer has {ours}. Give another file, or leave it out to use'
        ' an RQ-VAE that fits.'
    )
  return loaded


def find_tokenizer(
    prior: RQTransformerConfig, path: str | None = None
) -> RQVAEConfig:
  """The RQ-VAE whose codes a prior models.

  It is the RQ-VAE of the file `rqvae.py` beside `path` if its codes fit, and
  otherwise the recipe's RQ-VAE that makes such codes from images with a shorter
  side of 256 pixels.

  Args:
    prior: Description of the RQ-Transformer.
    path: Configuration file of the RQ-Transformer, if there is one.

  Raises:
    ValueError: If there is no such RQ-VAE.
  """
  codes = _of_prior(prior)
  beside = path and reading.split(path)[0].parent / 'rqvae.py'
  if beside and beside.exists():
    found = config_lib.load_model(str(beside))
    is_rqvae = isinstance(found, RQVAEConfig)
    if is_rqvae and build.codes_of(build.rqvae(found)) == codes:
      return found
  height, width, _ = prior.code_shape
  shorter = min(height, width)
  pixels = _PIXELS // shorter  # Side of a position, in pixels.
  if pixels not in recipes.MULTIPLIERS:
    raise ValueError(
        f'config.model.code_shape={prior.code_shape} fits no known RQ-VAE. Give'
        ' the file of one as --tokenizer_config.'
    )
  recipe = config_lib.parse_model(recipes.rqvae().to_dict())
  assert isinstance(recipe, RQVAEConfig)  # It is a recipe of stage 1.
  return dataclasses.replace(
      recipe,
      image_size=(height * pixels, width * pixels),
      channel_multipliers=recipes.MULTIPLIERS[pixels],
      attention_resolutions=(shorter,),
      shared_codebook=isinstance(prior.codebook_size, int),
      **codes,
  )


def _of_prior(prior: RQTransformerConfig) -> dict[str, Any]:
  names = ('code_shape', 'codebook_size', 'embed_dim')
  return {name: getattr(prior, name) for name in names}


def in_dtype(abstract: PyTree, dtype: str) -> PyTree:
  """The shapes of a tree in another dtype, without the boxes of its axes."""
  return jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(dtype)),
      partitioning.unbox(abstract),
  )


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _normal(shape, dtype, scale, key):
  return jax.random.normal(key, shape, dtype) * scale


def condition_of(
    prior: rqtransformer.RQTransformer, batch: int
) -> dict[str, Any]:
  """Arguments of a sampler for a batch of images."""
  if prior.num_classes:
    return {'labels': np.arange(batch) % prior.num_classes}
  if prior.text_vocab_size:
    ids = np.arange(batch * prior.text_length) % prior.text_vocab_size
    return {'tokens': ids.reshape(batch, -1)}
  return {'num_images': batch}
