"""Drawing with int8 weights: the loop computes with the rounded kernels."""

import dataclasses

import jax
import numpy as np
import pytest

from rq_jax.models import few_rows
from rq_jax.sampling import programs
from rq_jax.sampling import requests
from rq_jax.sampling import weights
from rq_jax.sampling.options import Sampling
from tests.sampling import models

_LOOP = ('spatial_stack', 'depth_stack', 'classifier')


def _rounded(params):
  """Parameters whose kernels of the loop are rounded as NumPy would."""

  def round_one(path, parameter):
    keys = [key.key for key in path]
    if keys[0] not in _LOOP or keys[-1] != 'kernel':
      return parameter
    parameter = np.asarray(parameter)
    first = 1 if keys[0] != 'classifier' else 0  # After the layers.
    summed = 2 if keys[-2] == 'out' else 1
    axes = tuple(range(first, first + summed))
    scale = np.abs(parameter).max(axis=axes, keepdims=True) / 127
    return np.round(parameter / scale) * scale

  return jax.tree_util.tree_map_with_path(round_one, params)


def test_weights_are_rounded_only_once():
  sampler = models.sampler(dtype='bfloat16')
  prior, params = sampler.prior, sampler.prior_variables['params']
  prepared = weights.prepare(
      prior, params, sampler.tokenizer.codebooks, weights='int8'
  )
  kernel = np.asarray(params['classifier']['kernel'])  # In float32.
  scales = np.abs(kernel).max(axis=0) / 127
  found = prepared.params['classifier']['kernel']
  np.testing.assert_array_equal(found.values.T, np.round(kernel / scales))
  np.testing.assert_allclose(found.scales, scales, rtol=1e-6)


@pytest.mark.parametrize('platform', ['cpu', 'gpu'])
def test_logits_are_those_of_rounded_kernels(platform):
  sampler = models.sampler()
  prior, params = sampler.prior, sampler.prior_variables['params']
  labels = np.arange(5, dtype=np.int32)[:, None]
  request = requests.make(prior, labels, Sampling(top_k=1))
  numbers = requests.uniforms(
      jax.random.key(0), request.indices, prior.positions, prior.depth
  )

  def drawn(params, kind):
    laid_out = weights.prepare(
        prior,
        params,
        sampler.tokenizer.codebooks,
        platform=platform,
        weights=kind,
    )
    return programs.draw_maps(
        prior, laid_out, request, numbers, keep_logits=True
    )

  codes, logits = drawn(params, 'int8')
  expected_codes, expected = drawn(_rounded(params), 'float')
  np.testing.assert_array_equal(codes, expected_codes)
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
  _, exact = drawn(params, 'float')
  assert np.abs(np.asarray(logits) - exact).max() > 1e-3


def test_a_sampler_draws_with_the_weights_that_it_is_told():
  sampler = models.sampler()
  int8 = dataclasses.replace(sampler, weights='int8')
  assert int8.codes(jax.random.key(0), labels=[1, 2]).shape == (2, 2, 2, 2)
  kernels = jax.tree.leaves(
      int8.engine.weights, is_leaf=lambda x: isinstance(x, few_rows.Kernel)
  )
  kernels = [k for k in kernels if isinstance(k, few_rows.Kernel)]
  layers = sampler.prior.spatial_layers + sampler.prior.depth_layers
  assert len(kernels) == 4 * layers + 1
  assert {str(kernel.values.dtype) for kernel in kernels} == {'int8'}


def test_what_cannot_read_int8_is_refused_before_it_is_laid_out():
  for changes, match in (
      (dict(weights='int4'), 'weights=int4 must be one of float, int8.'),
      (
          dict(weights='int8', kernels='interpret'),
          'weights=int8 needs kernels=xla, but kernels=interpret.',
      ),
  ):
    sampler = dataclasses.replace(models.sampler(), **changes)
    with pytest.raises(ValueError, match=match):
      sampler.codes(jax.random.key(0), labels=[1])
