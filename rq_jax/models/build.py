"""Builds modules from descriptions of networks, and shapes of their variables.

Shapes are `jax.ShapeDtypeStruct`s, in Flax boxes that hold their logical axes.
No array is allocated.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import numpy as np

from rq_jax.config import sizes
from rq_jax.models import discriminator as discriminator_lib
from rq_jax.models import lpips as lpips_lib
from rq_jax.models.rqtransformer import RQTransformer
from rq_jax.models.rqvae import RQVAE
from rq_jax.typing import PyTree


def rqvae(config: Any, dtype: str | None = None) -> RQVAE:
  """Builds the RQ-VAE that `config` describes; `dtype` overrides its dtype."""
  return RQVAE(**_fields(config, dtype))


def rqtransformer(config: Any, dtype: str | None = None) -> RQTransformer:
  """Builds the RQ-Transformer of `config`; `dtype` overrides its dtype."""
  return RQTransformer(**_fields(config, dtype))


def discriminator(config: Any) -> discriminator_lib.PatchDiscriminator:
  """Builds the discriminator that `config` describes."""
  return discriminator_lib.PatchDiscriminator(**_fields(config, None))


def rqvae_variables(model: RQVAE) -> PyTree:
  """Shapes of an RQ-VAE's 'params' and 'codebook'."""
  return _shapes(model, _image(model.image_size))


def rqtransformer_variables(model: RQTransformer) -> PyTree:
  """Shapes of an RQ-Transformer's 'params'."""
  codes = jax.ShapeDtypeStruct((1, *model.code_shape), np.int32)
  condition = jax.ShapeDtypeStruct((1, model.condition_length), np.int32)
  words = tuple(
      jax.ShapeDtypeStruct((size, model.embed_dim), np.float32)
      for size in model.sizes
  )
  return _shapes(model, codes, condition, words)


def _trace(model: Any, *inputs: Any) -> PyTree:
  return jax.eval_shape(model.init, jax.random.key(0), *inputs)


# Tracing a large model takes up to a second, and restoring it needs its shapes
# several times. Calls share the trees, so do not change them. The annotation is
# for type checkers, which do not know that modules are hashable.
_shapes: Callable[..., PyTree] = functools.lru_cache(maxsize=8)(_trace)


def discriminator_variables(
    model: discriminator_lib.PatchDiscriminator, image_size: sizes.ImageSize
) -> PyTree:
  """Shapes of a discriminator's 'params' and 'batch_stats'."""
  image = _image(image_size)

  def init(key, image):
    return model.init(key, image, train=True)

  return jax.eval_shape(init, jax.random.key(0), image)


def lpips_variables(model: lpips_lib.LPIPS) -> PyTree:
  """Shapes of the 'params' of LPIPS."""
  image = _image(lpips_lib.MIN_SIZE)
  return jax.eval_shape(model.init, jax.random.key(0), image, image)


def network_variables(model: Any, *inputs: jax.ShapeDtypeStruct) -> PyTree:
  """Shapes of the 'params' of a network that metrics use.

  Args:
    model: The network, such as `inception.InceptionV3()`.
    *inputs: Shapes of the arguments of its `__call__`.
  """
  return _shapes(model, *inputs)


def check_pair(config: Any, tokenizer: RQVAE) -> None:
  """Checks that an RQ-VAE makes the codes that an RQ-Transformer models.

  Args:
    config: The description of the RQ-Transformer.
    tokenizer: The RQ-VAE.

  Raises:
    ValueError: If they differ; the message names the field.
  """
  for name, value in codes_of(tokenizer).items():
    if getattr(config, name) != value:
      raise ValueError(
          f'config.model.{name}={getattr(config, name)}, but the tokenizer has'
          f' {value}. Give the matching --config.tokenizer, or set'
          f' --config.model.{name}.'
      )


def codes_of(tokenizer: RQVAE) -> dict[str, Any]:
  """The fields that an RQ-Transformer needs to model a tokenizer's codes."""
  quantizer = tokenizer.make_quantizer()
  shared = len(set(quantizer.sizes)) == 1
  return {
      'code_shape': tuple(tokenizer.code_shape),
      'codebook_size': quantizer.sizes[0] if shared else quantizer.sizes,
      'embed_dim': quantizer.codeword_channels,
  }


def _image(image_size: sizes.ImageSize) -> jax.ShapeDtypeStruct:
  """Shape of a batch of one image, float32[1, Y, X, 3]."""
  return jax.ShapeDtypeStruct((1, *sizes.pair(image_size), 3), np.float32)


def _fields(config: Any, dtype: str | None) -> dict[str, Any]:
  return vars(config) | ({'dtype': dtype} if dtype else {})
