import math

import jax
import jax.numpy as jnp
import numpy as np

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


def test_gelu_of_bfloat16_is_that_of_float32_rounded_once():
  x = jnp.asarray(NUMBERS, jnp.bfloat16)
  gradient = jnp.cos(x)
  found = pulled(x, gradient)
  value, slopes = pulled(np.float32(x), np.ones_like(NUMBERS))
  expected = value.astype(x.dtype), gradient * slopes.astype(x.dtype)
  for rounded, exact in zip(found, expected):
    assert rounded.dtype == x.dtype
    np.testing.assert_array_equal(np.float32(rounded), np.float32(exact))


def test_gelu_keeps_only_its_input_for_the_backward_pass():
  _, pull = jax.vjp(activations.gelu, jnp.asarray(NUMBERS))
  (kept,) = (x for x in jax.tree.leaves(pull) if np.size(x) > 1)
  np.testing.assert_array_equal(kept, NUMBERS)
