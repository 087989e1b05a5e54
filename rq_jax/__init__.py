"""RQ-VAE and RQ-Transformer in JAX: images from residual-quantized codes.

The public API; its modules are imported when they are first used.
"""

import importlib

__version__ = '0.1.0'

_HOMES = {
    'RQTransformer': 'rq_jax.models.rqtransformer',
    'RQVAE': 'rq_jax.models.rqvae',
    'Sampler': 'rq_jax.sampling',
    'Sampling': 'rq_jax.sampling',
    'Tokenizer': 'rq_jax.tokenizer',
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
  if name not in _HOMES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
  return [*globals(), *_HOMES]
