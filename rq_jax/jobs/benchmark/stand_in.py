"""Models of random weights, to be timed: they are as fast as trained ones."""

from collections.abc import Callable
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from rq_jax import config as config_lib
from rq_jax.config import Config
from rq_jax.config import recipes
from rq_jax.config import rules
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.sampling import Sampler
from rq_jax.tokenizer import Tokenizer
from rq_jax.typing import PyTree

_PIXELS = 256  # Of the recipe's images.


def sampler(
    config: Config, tokenizer_config: Config, dtype: str, seed: int = 0
) -> Sampler:
  """A generator of these experiments, weights and computation in a dtype.

  Args:
    config: The stage-2 experiment.
    tokenizer_config: The stage-1 experiment; see `find_tokenizer`.
    dtype: 'float32' or 'bfloat16'; codewords are always float32.
    seed: Of the weights.
  """
  prior = build.rqtransformer(config.model, dtype)
  model = build.rqvae(tokenizer_config.model, dtype)
  abstract = build.rqtransformer_variables(prior)
  params = _in_dtype(abstract['params'], dtype)
  pair = dict(build.rqvae_variables(model))
  pair['params'] = _in_dtype(pair['params'], dtype)
  return Sampler(
      prior=prior,
      prior_variables={'params': draw(params, seed)},
      tokenizer=Tokenizer(
          model=model,
          variables=draw(partitioning.unbox(pair), seed + 1),
          config=tokenizer_config,
      ),
  )


def draw(
    abstract: PyTree,
    seed: int,
    scale: Callable[[jax.ShapeDtypeStruct], float] = lambda leaf: 0.02,
) -> PyTree:
  """Normal numbers in the shapes and dtypes of a tree, made on the device.

  Leaf by leaf and at once in its dtype, so that little more memory is needed
  than the tree takes.

  Raises:
    ValueError: If the seed is not in [0, 2**32).
  """
  rules.check_seed(seed)
  leaves, structure = jax.tree.flatten(abstract)
  keys = jax.random.split(jax.random.key(seed), len(leaves))
  drawn = [
      _normal(leaf.shape, leaf.dtype, scale(leaf), key)
      for key, leaf in zip(keys, leaves)
  ]
  return jax.tree.unflatten(structure, drawn)


def load_tokenizer(path: str, config: Config) -> Config:
  """The stage-1 experiment of a file, for the prior of another.

  Raises:
    ValueError: If its codes are not those that the prior models.
  """
  try:
    loaded = _load(path)
  except KeyError as error:
    raise ValueError(
        f'--tokenizer_config={path} is of no RQ-VAE; give one of stage 1.'
    ) from error
  ours, theirs = _of_prior(config), _of_tokenizer(loaded)
  if ours != theirs:
    raise ValueError(
        f'The RQ-VAE of --tokenizer_config={path} has {theirs}, but the'
        f' RQ-Transformer {ours}. Give another, or leave it out to have one'
        ' made that fits.'
    )
  return loaded


def find_tokenizer(config: Config, path: str | None = None) -> Config:
  """The stage-1 experiment whose codes a prior models.

  Args:
    config: The stage-2 experiment.
    path: Its file; the `rqvae.py` beside it is taken if it fits. Else it is the
      recipe's RQ-VAE at 256 pixels that makes the code map.

  Raises:
    ValueError: If there is no such RQ-VAE.
  """
  wanted = _of_prior(config)
  beside = path and pathlib.Path(path.partition(':')[0]).parent / 'rqvae.py'
  if beside and beside.exists():
    found = _load(str(beside))
    if _of_tokenizer(found) == wanted:
      return found
  height, width, _ = config.model.code_shape
  pixels = _PIXELS // height  # Of a position.
  if height != width or pixels not in recipes.MULTIPLIERS:
    raise ValueError(
        f'No RQ-VAE is known for config.model.code_shape='
        f'{config.model.code_shape}; give one by --tokenizer_config.'
    )
  recipe = recipes.rqvae().to_dict()
  recipe['model'].update(
      channel_multipliers=recipes.MULTIPLIERS[pixels],
      attention_resolutions=(height,),
      shared_codebook=isinstance(config.model.codebook_size, int),
      **wanted,
  )
  recipe['loss']['perceptual_weight'] = 0.0
  recipe['train']['epochs'] = 1.0
  return config_lib.check(recipe)


def _load(path: str) -> Config:
  """Loads a stage-1 experiment; others raise a KeyError."""
  # No loss is computed, and so no perceptual network asked for.
  return config_lib.load(path, overrides={'loss.perceptual_weight': 0.0})


def _of_prior(config: Config) -> dict[str, Any]:
  names = ('code_shape', 'codebook_size', 'embed_dim')
  return {name: getattr(config.model, name) for name in names}


def _of_tokenizer(config: Config) -> dict[str, Any]:
  quantizer = build.rqvae(config.model).make_quantizer()
  sizes = quantizer.sizes
  return {
      'code_shape': config.model.code_shape,
      'codebook_size': sizes[0] if len(set(sizes)) == 1 else sizes,
      'embed_dim': quantizer.codeword_channels,
  }


def _in_dtype(abstract: PyTree, dtype: str) -> PyTree:
  return jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(dtype)),
      partitioning.unbox(abstract),
  )


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _normal(shape, dtype, scale, key):
  return jax.random.normal(key, shape, dtype) * scale
