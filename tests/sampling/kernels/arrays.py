"""Random arrays for kernels, and how close results must be."""

import jax.numpy as jnp
import numpy as np

DTYPES = ('float32', 'bfloat16')
# Of results near 1; a bfloat16 has 8 bits.
TOLERANCE = {'float32': 1e-5, 'bfloat16': 2e-2}


def draw(seed, *shapes, dtype='float32', scale=1.0):
  """One array of normal numbers for each shape."""
  rng = np.random.default_rng(seed)
  return [
      jnp.asarray(rng.normal(scale=scale, size=shape), dtype)
      for shape in shapes
  ]


def layer_norm_params(seed, width):
  scale, bias = draw(seed, (width,), (width,))
  return {'scale': scale, 'bias': bias}


def to_float64(tree):
  return np.asarray(jnp.asarray(tree, jnp.float32), np.float64)


def layer_norm(x, params):
  """LayerNorm in NumPy and float64."""
  x = to_float64(x)
  centered = x - x.mean(axis=-1, keepdims=True)
  deviation = np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-5)
  scale, bias = to_float64(params['scale']), to_float64(params['bias'])
  return centered / deviation * scale + bias


def assert_close(actual, expected, dtype):
  """Compares with what NumPy computed, relative to the largest number."""
  expected = np.asarray(expected)
  np.testing.assert_allclose(
      to_float64(actual),
      expected,
      atol=TOLERANCE[dtype] * np.abs(expected).max(),
  )
