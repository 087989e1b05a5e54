"""The kernel of products against NumPy and its plain form."""

import functools
import math

import jax
import numpy as np
import pytest

from rq_jax.sampling.kernels import norms
from rq_jax.sampling.kernels import products
from tests.sampling.kernels import arrays

_SUMMED, _COLUMNS = 48, 80
# One program, whose block has more rows; and two, the last of which is filled.
_BATCHES = (3, 130)


def _inputs(batch, dtype):
  x, kernel = arrays.draw(
      batch, (batch, _SUMMED), (_SUMMED, _COLUMNS), dtype=dtype
  )
  (bias,) = arrays.draw(1, (_COLUMNS,))
  return x, kernel / _SUMMED**0.5, bias


def _run(function, *args, **options):
  return jax.jit(functools.partial(function, **options))(*args)


@pytest.mark.parametrize('dtype', arrays.DTYPES)
@pytest.mark.parametrize('batch', _BATCHES)
def test_a_product_follows_a_norm_and_precedes_a_gelu(batch, dtype):
  x, kernel, bias = _inputs(batch, dtype)
  params = arrays.layer_norm_params(2, _SUMMED)
  actual = _run(
      lambda x: products.project(
          x,
          kernel,
          bias,
          norm=norms.of(norms.measure(x), params),
          gelu='exact',
          interpret=True,
      ),
      x,
  )
  assert actual.dtype == x.dtype
  y = arrays.layer_norm(x, params) @ arrays.to_float64(kernel)
  y += arrays.to_float64(bias)
  erf = np.vectorize(math.erf)
  arrays.assert_close(actual, y * (1 + erf(y / 2**0.5)) / 2, dtype)
  plain = products.plain(x, kernel, bias, norm=params, gelu='exact')
  arrays.assert_close(actual, arrays.to_float64(plain), dtype)


@pytest.mark.parametrize('dtype', arrays.DTYPES)
@pytest.mark.parametrize('batch', _BATCHES)
def test_a_sum_comes_with_the_moments_of_its_blocks(batch, dtype):
  x, kernel, bias = _inputs(batch, dtype)
  (residual,) = arrays.draw(3, (batch, _COLUMNS), dtype=dtype)
  rows = _run(products.add, x, kernel, bias, residual, interpret=True)
  assert rows.x.dtype == x.dtype
  y = arrays.to_float64(x) @ arrays.to_float64(kernel)
  y += arrays.to_float64(bias) + arrays.to_float64(residual)
  arrays.assert_close(rows.x, y, dtype)
  blocks = arrays.to_float64(rows.x).reshape(batch, rows.means.shape[1], -1)
  assert blocks.shape[1] > 1
  means = blocks.mean(axis=2)
  np.testing.assert_allclose(rows.means, means, atol=1e-6)
  squares = ((blocks - means[..., None]) ** 2).sum(axis=2)
  np.testing.assert_allclose(rows.squares, squares, rtol=1e-5)
  plain = products.plain(x, kernel, bias, residual=residual)
  arrays.assert_close(rows.x, arrays.to_float64(plain), dtype)


def test_the_moments_of_a_sum_normalize_it():
  x, kernel, bias = _inputs(3, 'float32')
  residual, more = arrays.draw(3, (3, _COLUMNS), (_COLUMNS, 16))
  params = arrays.layer_norm_params(2, _COLUMNS)

  @jax.jit
  def both(x):
    rows = products.add(x, kernel, bias, residual, interpret=True)
    norm = norms.of(rows, params)
    return rows.x, products.project(rows.x, more, norm=norm, interpret=True)

  between, actual = both(x)
  expected = arrays.layer_norm(between, params) @ arrays.to_float64(more)
  arrays.assert_close(actual, expected, 'float32')


def test_logits_keep_float32():
  x, kernel, bias = _inputs(3, 'bfloat16')
  actual = _run(
      products.project, x, kernel, bias, dtype=np.float32, interpret=True
  )
  assert actual.dtype == np.float32
  expected = arrays.to_float64(x) @ arrays.to_float64(kernel)
  expected += arrays.to_float64(bias)
  arrays.assert_close(actual, expected, 'float32')
