"""RQ-VAE and RQ-Transformer in JAX: images from residual-quantized codes.

The public API. Importing it is fast: each name is loaded when you first use it.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from rq_jax.models.rqtransformer import RQTransformer
  from rq_jax.models.rqvae import RQVAE
  from rq_jax.reports.notebook import grid
  from rq_jax.sampling import Sampler
  from rq_jax.sampling import Sampling
  from rq_jax.tokenizer import Tokenizer

__version__ = '0.1.0'
__all__ = [
    'RQTransformer',
    'RQVAE',
    'Sampler',
    'Sampling',
    'Tokenizer',
    'grid',
]

_HOMES = {
    'RQTransformer': 'rq_jax.models.rqtransformer',
    'RQVAE': 'rq_jax.models.rqvae',
    'Sampler': 'rq_jax.sampling',
    'Sampling': 'rq_jax.sampling',
    'Tokenizer': 'rq_jax.tokenizer',
    'grid': 'rq_jax.reports.notebook',
}


if not TYPE_CHECKING:  # A type checker would then accept any name.

  def __getattr__(name: str):
    if name not in _HOMES:
      raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
  return [*globals(), *_HOMES]
