"""The kernel of the attention to a cache, against NumPy and its plain form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.sampling.kernels import attention
from rq_jax.sampling.kernels import heads as heads_lib
from rq_jax.sampling.kernels import norms
from tests.sampling.kernels import arrays

_WIDTH, _HEADS, _LENGTH = 32, 2, 13
_SIZE = _WIDTH // _HEADS


def _inputs(batch, dtype, bias=True):
  shape = (batch, _HEADS, _LENGTH, _SIZE)
  kernel_shape = (_WIDTH, 3, _HEADS, _SIZE)
  x, kernel, keys, values = arrays.draw(
      0, (batch, _WIDTH), kernel_shape, shape, shape, dtype=dtype
  )
  (biases,) = arrays.draw(1, kernel_shape[1:])
  heads = heads_lib.Heads(kernel / _WIDTH**0.5, biases if bias else None)
  return x, arrays.layer_norm_params(2, _WIDTH), heads, (keys, values)


@jax.jit
def _attend(x, params, heads, cache, position):
  return attention.attend(
      norms.measure(x), params, heads, cache, position, interpret=True
  )


def _expected(x, params, heads, cache, position):
  """Output, and key and value of the new position, in float64."""
  kernel = arrays.to_float64(heads.kernel)
  x = arrays.layer_norm(x, params)
  projected = np.einsum('be,eknh->kbnh', x, kernel)
  if heads.bias is not None:
    projected += arrays.to_float64(heads.bias)[:, None]
  query, key, value = projected
  keys, values = (
      np.concatenate(
          [arrays.to_float64(old)[:, :, :position], new[:, :, None]], axis=2
      )
      for old, new in zip(cache, (key, value))
  )
  scores = np.einsum('bnh,bnsh->bns', query, keys) / _SIZE**0.5
  weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
  weights /= weights.sum(axis=-1, keepdims=True)
  out = np.einsum('bns,bnsh->bnh', weights, values)
  return out.reshape(x.shape), key, value


@pytest.mark.parametrize('dtype', arrays.DTYPES)
@pytest.mark.parametrize('position', [0, 1, 9, _LENGTH - 1])
@pytest.mark.parametrize('batch', [3, 20])
def test_a_position_attends_to_itself_and_all_before(batch, position, dtype):
  x, params, heads, cache = _inputs(batch, dtype)
  # Numbers behind the position are never read.
  cache = tuple(part.at[:, :, position:].set(jnp.nan) for part in cache)
  at = jnp.int32(position)
  out, extended = _attend(x, params, heads, cache, at)
  expected, *new = _expected(x, params, heads, cache, position)
  arrays.assert_close(out, expected, dtype)
  for old, after, part in zip(cache, extended, new):
    arrays.assert_close(after[:, :, position], part, dtype)
    after = after.at[:, :, position].set(jnp.nan)
    np.testing.assert_array_equal(
        arrays.to_float64(after), arrays.to_float64(old)
    )


@pytest.mark.parametrize('dtype', arrays.DTYPES)
def test_the_kernel_computes_its_plain_form(dtype):
  x, params, heads, cache = _inputs(3, dtype, bias=False)
  out, extended = _attend(x, params, heads, cache, jnp.int32(5))
  plain, expected = attention.plain(x, params, heads, cache, 5)
  arrays.assert_close(out, arrays.to_float64(plain), dtype)
  for part, other in zip(extended, expected):
    arrays.assert_close(part, arrays.to_float64(other), dtype)
