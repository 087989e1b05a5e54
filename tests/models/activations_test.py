import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import activations

NUMBERS = np.linspace(-6, 6, 101, dtype=np.float32)


def below(x):
  return np.array([math.erfc(-number / math.sqrt(2)) / 2 for number in x])


def slope(x):
  x = np.float64(x)
  return below(x) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def pulled(x, gradient):
  value, pull = jax.vjp(activations.gelu, x)
  return value, *pull(gradient)


def test_gelu_and_its_gradient_are_exact():
  gradient = np.cos(NUMBERS)
  value, found = jax.jit(pulled)(NUMBERS, gradient)
  np.testing.assert_allclose(value, NUMBERS * below(NUMBERS), 1e-6, 1e-6)
  np.testing.assert_allclose(found, gradient * slope(NUMBERS), 1e-6, 1e-6)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_gelu_has_the_values_of_jax_and_close_gradients(dtype):
  x = jnp.asarray(NUMBERS, dtype)
  value, found = pulled(x, jnp.ones_like(x))
  own, pull = jax.vjp(lambda x: jax.nn.gelu(x, approximate=False), x)
  np.testing.assert_array_equal(np.float32(value), np.float32(own))
  assert found.dtype == x.dtype
  tolerance = {'float32': 1e-6, 'bfloat16': 0.02}[dtype]
  (expected,) = np.float32(pull(jnp.ones_like(x)))
  np.testing.assert_allclose(np.float32(found), expected, atol=tolerance)


def test_gelu_keeps_only_its_input_for_the_backward_pass():
  _, pull = jax.vjp(activations.gelu, jnp.asarray(NUMBERS))
  (kept,) = (x for x in jax.tree.leaves(pull) if np.size(x) > 1)
  np.testing.assert_array_equal(kept, NUMBERS)
