"""Kernels laid out for few rows give the results of the layers' own kernels."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import code_layers
from rq_jax.models import few_rows
from rq_jax.models import linear


def _normal(seed, *shape):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize('outputs_first', [False, True])
@pytest.mark.parametrize(
    ('kernel', 'summed', 'rows', 'product'),
    [
        ((6, 5), 1, (3, 6), 'bk,kn->bn'),
        ((6, 3, 2, 4), 1, (3, 1, 6), 'bsk,kinh->bsinh'),
        ((2, 4, 5), 2, (3, 1, 2, 4), 'bsnh,nhe->bse'),
    ],
)
def test_products_are_those_of_numpy(
    kernel, summed, rows, product, outputs_first
):
  kernel, x = _normal(1, *kernel), _normal(2, *rows)
  laid_out = few_rows.lay_out(kernel, summed, outputs_first=outputs_first)
  expected = np.einsum(product, x, kernel)
  found = laid_out.multiply(jnp.asarray(x), summed)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_outputs_come_first_in_memory_if_asked():
  kernel = _normal(1, 2, 4, 5)
  for flag, expected in ((False, kernel), (True, np.moveaxis(kernel, 2, 0))):
    laid_out = few_rows.lay_out(kernel, 2, outputs_first=flag)
    np.testing.assert_array_equal(laid_out.values, expected)


def test_the_result_has_the_dtype_of_the_rows_or_the_one_that_is_given():
  laid_out = few_rows.lay_out(_normal(1, 6, 5), 1, outputs_first=True)
  x = jnp.ones((2, 6), jnp.bfloat16)
  assert laid_out.multiply(x).dtype == jnp.bfloat16
  # In float32, the sums of these rounded numbers are not rounded again.
  rounded = np.asarray(laid_out.values.astype(jnp.bfloat16), np.float32)
  found = laid_out.multiply(x, dtype=jnp.float32)
  expected = np.broadcast_to(rounded.sum(axis=1), (2, 5))
  np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize('outputs_first', [False, True])
def test_int8_weights_are_whole_numbers_of_a_scale_for_each_output(
    outputs_first,
):
  kernel = _normal(1, 2, 6, 5) * np.float32([1, 10, 0.1, 1, 3])
  kernel[..., 3] = 0  # An output without weights.
  laid_out = few_rows.lay_out(kernel, 2, outputs_first=outputs_first, int8=True)
  values, scales = np.asarray(laid_out.values), np.asarray(laid_out.scales)
  assert values.dtype == np.int8
  if outputs_first:
    values = np.moveaxis(values, 0, 2)
  np.testing.assert_allclose(
      scales,
      np.abs(kernel).max(axis=(0, 1)) / 127 + [0, 0, 0, 1 / 127, 0],
      rtol=1e-6,
  )
  assert np.abs(values).max(axis=(0, 1)).tolist() == [127, 127, 127, 0, 127]
  restored = values * scales
  assert np.all(np.abs(restored - kernel) <= scales / 2 * 1.0001)
  x = jnp.asarray(_normal(2, 3, 1, 2, 6))
  np.testing.assert_allclose(
      laid_out.multiply(x, 2),
      np.einsum('bsnh,nhe->bse', x, restored),
      rtol=1e-5,
      atol=1e-5,
  )


def test_int8_products_are_scaled_before_they_are_rounded():
  kernel = np.full((4, 1), 0.3, np.float32)
  laid_out = few_rows.lay_out(kernel, 1, outputs_first=False, int8=True)
  x = jnp.ones((2, 4), jnp.bfloat16)
  # 4 * 127 = 508 is no number of bfloat16.
  expected = np.asarray(jnp.bfloat16(4 * 127 * np.float32(0.3) / 127))
  np.testing.assert_array_equal(laid_out.multiply(x), [[expected]] * 2)


def test_on_a_cpu_the_weights_stay_the_left_factor():
  laid_out = few_rows.lay_out(_normal(1, 64, 256), 1, outputs_first=True)
  run = jax.jit(lambda kernel, x: jnp.tanh(kernel.multiply(x)))
  text = run.lower(laid_out, jnp.ones((8, 64))).compile().as_text()
  assert 'f32[256,8]' in text  # Outputs, then rows.
  assert 'f32[8,256]{1,0} dot' not in text


@pytest.mark.parametrize('gradient_dtype', [None, 'float32'])
@pytest.mark.parametrize('outputs_first', [False, True])
def test_a_layer_takes_a_kernel_that_is_laid_out(outputs_first, gradient_dtype):
  layer = linear.Projection(
      (2, 4, 5), (None,) * 3, summed=2, gradient_dtype=gradient_dtype
  )
  x = jnp.asarray(_normal(3, 3, 1, 2, 4))
  params = nn.meta.unbox(layer.init(jax.random.key(0), x))['params']
  laid_out = params | {
      'kernel': few_rows.lay_out(
          params['kernel'], 2, outputs_first=outputs_first
      )
  }
  expected = layer.apply({'params': params}, x)
  found = layer.apply({'params': laid_out}, x)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
  assert np.std(expected) > 0.1


@pytest.mark.parametrize('shared', [False, True])
def test_a_classifier_takes_a_kernel_that_is_laid_out(shared):
  layer = code_layers.CodeClassifier(6, (7, 5), shared)
  hidden = jnp.asarray(_normal(4, 3, 6))
  stacks = jnp.zeros((1, 1, 2, 6))
  params = nn.meta.unbox(layer.init(jax.random.key(0), stacks))['params']
  lay_out = functools.partial(few_rows.lay_out, summed=1, outputs_first=True)
  kernel = (lay_out if shared else jax.vmap(lay_out))(params['kernel'])
  for depth in range(2):
    expected, found = (
        layer.apply({'params': p}, hidden, depth, method='at')
        for p in (params, params | {'kernel': kernel})
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
