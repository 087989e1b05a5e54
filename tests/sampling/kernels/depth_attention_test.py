"""The kernel of the attention within a stack, against the one with a cache."""

import jax
import numpy as np
import pytest

from rq_jax.sampling.kernels import attention
from rq_jax.sampling.kernels import depth_attention
from rq_jax.sampling.kernels import heads as heads_lib
from rq_jax.sampling.kernels import norms
from tests.sampling.kernels import arrays

_WIDTH, _HEADS = 32, 2
_SHAPE = (_WIDTH, 3, _HEADS, _WIDTH // _HEADS)


@jax.jit
def _attend(x, params, heads, earlier):
  return depth_attention.attend(
      norms.measure(x), params, heads, earlier, interpret=True
  )


@pytest.mark.parametrize('dtype', arrays.DTYPES)
@pytest.mark.parametrize('depth', [0, 1, 3])
@pytest.mark.parametrize('bias', [True, False])
def test_a_depth_attends_as_if_its_keys_were_in_a_cache(depth, dtype, bias):
  batch = 20
  x, kernel, *parts = arrays.draw(
      depth,
      (batch, _WIDTH),
      _SHAPE,
      *[(batch, _WIDTH)] * (2 * depth),
      dtype=dtype,
  )
  (biases,) = arrays.draw(1, _SHAPE[1:])
  heads = heads_lib.Heads(kernel / _WIDTH**0.5, biases if bias else None)
  params = arrays.layer_norm_params(2, _WIDTH)
  earlier = list(zip(parts[::2], parts[1::2]))
  out, (key, value) = _attend(x, params, heads, earlier)

  cache = np.zeros((2, batch, _HEADS, depth + 1, _SHAPE[-1]))
  for d, pair in enumerate(earlier):
    for stored, part in zip(cache, pair):
      part = arrays.to_float64(part)
      stored[:, :, d] = part.reshape(batch, _HEADS, -1)
  expected, stored = attention.plain(
      x, params, heads, tuple(cache.astype(x.dtype)), depth
  )
  arrays.assert_close(out, arrays.to_float64(expected), dtype)
  for new, part in zip((key, value), stored):
    part = arrays.to_float64(part)[:, :, depth].reshape(batch, -1)
    arrays.assert_close(new, part, dtype)
  plain, pair = depth_attention.plain(x, params, heads, earlier)
  arrays.assert_close(out, arrays.to_float64(plain), dtype)
  for new, other in zip((key, value), pair):
    arrays.assert_close(new, arrays.to_float64(other), dtype)
