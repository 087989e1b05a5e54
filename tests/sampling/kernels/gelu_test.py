"""GELUs without `lax.erf`, against the functions of Python's `math`."""

import math

import jax.numpy as jnp
import numpy as np

from rq_jax.models import transformer
from rq_jax.sampling.kernels import gelu

_X = np.linspace(-6, 6, 20001).astype(np.float32)


def _exact(x):
  return np.array([math.erf(v) for v in x.astype(float)])


def test_the_error_function_is_exact_to_float32():
  error = np.asarray(gelu.erf(jnp.asarray(_X))) - _exact(_X)
  assert np.abs(error).max() < 4e-7


def test_the_exact_gelu_is_exact_to_float32():
  expected = _X * (1 + _exact(_X / np.sqrt(2))) / 2
  error = np.asarray(gelu.exact(jnp.asarray(_X))) - expected
  assert np.abs(error).max() < 2e-6


def test_far_from_zero_the_gelu_is_the_number_or_zero():
  far = jnp.asarray([-1e4, -50, 50, 1e4], jnp.float32)
  np.testing.assert_array_equal(gelu.exact(far), [0, 0, 50, 1e4])


def test_every_gelu_of_a_model_has_a_form_for_kernels():
  assert set(gelu.FUNCTIONS) == set(transformer.GELUS)
  for name, function in gelu.FUNCTIONS.items():
    expected = transformer.GELUS[name](jnp.asarray(_X))
    np.testing.assert_allclose(function(jnp.asarray(_X)), expected, atol=2e-6)
