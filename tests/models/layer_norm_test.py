import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import layer_norm

# The first row varies so little that the epsilon counts.
ROWS = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
ROWS[0, 0] *= 4e-3
ROWS[1] += 5
SCALE = np.linspace(0.5, 2, 8, dtype=np.float32)
BIAS = np.linspace(-1, 1, 8, dtype=np.float32)


def exact(x, scale, bias):
  x = np.float64(x)
  centered = x - x.mean(-1, keepdims=True)
  variance = np.square(centered).mean(-1, keepdims=True)
  return centered / np.sqrt(variance + 1e-5) * scale + bias


def slope(function, x, step=1e-6):
  """The gradient of a scalar function, by central differences."""
  x = np.float64(x)
  found = np.zeros_like(x)
  for i in np.ndindex(x.shape):
    change = np.zeros_like(x)
    change[i] = step
    found[i] = (function(x + change) - function(x - change)) / (2 * step)
  return found


def pulled(x, gradient, dtype='float32'):
  """The norm of `x`, and the gradients of `x`, the scale and the bias."""

  def norm(x, scale, bias):
    variables = {'params': {'scale': scale, 'bias': bias}}
    return layer_norm.LayerNorm(dtype).apply(variables, x)

  value, pull = jax.vjp(norm, x, SCALE, BIAS)
  return value, *pull(gradient)


def test_value_and_gradients_are_exact():
  # Float32 rounds each of about ten operations by 6e-8; the differences of the
  # reference are exact to about 1e-7.
  gradient = np.cos(np.arange(ROWS.size, dtype=np.float32)).reshape(ROWS.shape)
  value, *found = jax.jit(pulled)(ROWS, gradient)
  np.testing.assert_allclose(value, exact(ROWS, SCALE, BIAS), 1e-5, 1e-5)
  arguments = [ROWS, SCALE, BIAS]
  for i, slopes in enumerate(found):

    def loss(x, i=i):
      changed = [*arguments[:i], x, *arguments[i + 1 :]]
      return np.sum(gradient * exact(*changed))

    assert slopes.dtype == np.float32
    expected = slope(loss, arguments[i])
    np.testing.assert_allclose(
        slopes, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize('shape', [(8,), (5, 8), (0, 3, 8), (2, 1, 1, 3, 8)])
def test_rows_may_have_any_number_of_axes(shape):
  x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
  value, of_x, of_scale, of_bias = pulled(x, np.ones(shape, np.float32))
  expected = exact(x, SCALE, BIAS)
  np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)
  assert of_x.shape == shape
  normed = exact(x, 1, 0).reshape(-1, 8)
  np.testing.assert_allclose(of_scale, normed.sum(0), rtol=1e-5, atol=1e-5)
  np.testing.assert_array_equal(of_bias, np.full(8, len(normed)))


def test_bfloat16_is_rounded_only_at_the_end():
  x = jnp.asarray(ROWS, jnp.bfloat16)
  gradient = jnp.cos(jnp.arange(x.size, dtype=jnp.float32)).astype(x.dtype)
  gradient = gradient.reshape(x.shape)
  found = pulled(x, gradient, 'bfloat16')
  wide = pulled(np.float32(x), np.float32(gradient))
  dtypes = [x.dtype, x.dtype, jnp.float32, jnp.float32]
  for one, exact_one, dtype in zip(found, wide, dtypes):
    assert one.dtype == dtype
    np.testing.assert_array_equal(one, exact_one.astype(dtype))


def test_the_backward_pass_keeps_one_array_of_the_size_of_the_input():
  x = jnp.asarray(ROWS, jnp.bfloat16)
  _, pull = jax.vjp(
      lambda x: layer_norm.LayerNorm('bfloat16').apply(
          {'params': {'scale': SCALE, 'bias': BIAS}}, x
      ),
      x,
  )
  (kept,) = (one for one in jax.tree.leaves(pull) if np.size(one) == x.size)
  assert kept.dtype == x.dtype
  np.testing.assert_array_equal(kept, x)


def test_parameters_start_as_in_pytorch():
  norm = layer_norm.LayerNorm('bfloat16')
  params = norm.init(jax.random.key(0), ROWS)['params']
  assert jax.tree.map(lambda x: x.dtype, params) == {
      'scale': np.float32,
      'bias': np.float32,
  }
  np.testing.assert_array_equal(params['scale'], np.ones(8))
  np.testing.assert_array_equal(params['bias'], np.zeros(8))
