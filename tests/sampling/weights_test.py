"""Weights for the loop: cast once, blocks apart, codes in tables."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import rqtransformer
from rq_jax.sampling import weights
from tests.sampling import models

_WORDS = np.random.default_rng(1).normal(size=(12, 8)).astype(np.float32)


@functools.cache
def _prepared(dtype, **options):
  """Parameters as they are trained, and laid out for a model of a dtype."""
  prior = rqtransformer.RQTransformer(
      code_shape=(2, 2, 3),
      codebook_size=12,
      embed_dim=8,
      width=16,
      heads=2,
      spatial_layers=2,
      depth_layers=1,
      dtype=dtype,
  )
  params = models.random_variables(prior)['params']
  return params, weights.prepare(prior, params, (_WORDS,), **options)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_kernels_and_biases_of_blocks_are_cast_and_all_else_is_as_trained(
    dtype,
):
  params, prepared = _prepared(dtype)
  stacks = {
      'spatial_stack': prepared.spatial_blocks,
      'depth_stack': prepared.depth_blocks,
  }
  assert [len(blocks) for blocks in stacks.values()] == [2, 1]
  assert set(prepared.params) == set(params) - set(stacks)
  pairs = [(params[n], prepared.params[n]) for n in prepared.params]
  for name, blocks in stacks.items():
    for i, block in enumerate(blocks):
      trained = jax.tree.map(lambda p, i=i: p[i], params[name]['layers'])
      pairs.append((trained, block))
  seen = set()
  of_linear_layers = {'query_key_value', 'out', 'mlp_in', 'mlp_out'}

  def compare(path, trained, laid_out):
    *above, name = [key.key for key in path] or [None]
    is_bias = name == 'bias' and bool(of_linear_layers & {*above})
    is_cast = name == 'kernel' or is_bias
    expected = jnp.dtype(dtype) if is_cast else jnp.float32
    laid_out = models.as_trained(path, laid_out)
    assert laid_out.dtype == expected
    np.testing.assert_array_equal(laid_out, trained.astype(expected))
    seen.add((name, is_cast))

  for trained, laid_out in pairs:
    jax.tree_util.tree_map_with_path(compare, trained, laid_out)
  assert seen >= {('kernel', True), ('bias', True), ('bias', False)}
  assert ('scale', False) in seen


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(weights='int8'), jnp.bfloat16),
        (dict(kernels='pallas', platform='gpu'), jnp.float32),
    ],
)
def test_biases_of_blocks_have_the_dtype_in_which_they_are_added(
    options, expected
):
  _, prepared = _prepared('bfloat16', **options)
  (block,) = prepared.depth_blocks
  assert block['mlp_in']['bias'].dtype == expected
  assert block['norm2']['bias'].dtype == jnp.float32


def test_tables_are_projected_codewords():
  params, prepared = _prepared('float32')
  assert_close = functools.partial(
      np.testing.assert_allclose, rtol=1e-5, atol=1e-5
  )
  spatial, depth = params['spatial_projection'], params['depth_projection']
  (table,) = prepared.spatial_tables
  assert_close(table, _WORDS @ spatial['kernel'] + spatial['bias'])
  # The bias comes once into the sum over a stack, with the positions.
  (table,) = prepared.depth_tables
  assert_close(table, _WORDS @ depth['kernel'])
  has_codes = np.array([[0], [1], [1]])
  assert_close(
      prepared.depth_offsets,
      params['depth_position'] + has_codes * depth['bias'],
  )
