"""Small residual quantizers with codebooks in use, and their sums in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.models import codebook
from rq_jax.models import quantizer

SHARED = quantizer.ResidualQuantizer((4, 4, 6), (4, 4, 3), 8, restart='off')
UNSHARED = quantizer.ResidualQuantizer(
    (4, 4, 6),
    (2, 4, 3),
    (8, 6, 5),
    shared_codebook=False,
    decay=(0.9, 0.8, 0.7),
    restart='off',
)

assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)


def features(seed=0):
  """Features float32[5, 4, 4, 6]."""
  rng = np.random.default_rng(seed)
  return rng.normal(size=(5, 4, 4, 6)).astype(np.float32)


@functools.cache
def books(module):
  """Codebooks in use: with counts, and codewords of different sizes."""
  rng = np.random.default_rng(1)
  channels = module.codeword_channels
  names = (
      ['shared']
      if module.shared_codebook
      else [f'depth_{d}' for d in range(module.depth)]
  )
  return {
      name: codebook.Codebook(
          *(
              jnp.asarray(x, jnp.float32)
              for x in (
                  rng.normal(size=(size, channels)),
                  rng.uniform(1, 3, size),
                  rng.normal(size=(size, channels)),
              )
          )
      )
      for name, size in zip(names, module.sizes, strict=False)
  }


@functools.cache
def compiled(module, method='__call__', **options):
  return jax.jit(functools.partial(module.apply, method=method, **options))


def apply(module, *args, method='__call__', **options):
  run = compiled(module, method, **options)
  return run({'codebook': books(module)}, *args)


def words(module, codes):
  """Codewords by depth, float[..., D, C'], in NumPy."""
  tables = [np.asarray(b.embedding) for b in books(module).values()]
  return np.stack(
      [tables[d % len(tables)][codes[..., d]] for d in range(module.depth)],
      axis=-2,
  )


def residuals(module, vectors, codes):
  """The residual that each depth quantizes, float[..., D, C'], in NumPy."""
  sums = words(module, codes).cumsum(-2)
  before = np.concatenate([np.zeros_like(sums[..., :1, :]), sums], -2)
  return vectors[..., None, :] - before[..., :-1, :]
