"""Batch normalization with stored statistics, against its definition."""

import jax
import numpy as np
import pytest

from rq_jax.models import batch_norm


def drawn(*shape):
  return np.random.default_rng(len(shape)).normal(size=shape).astype('f4')


@pytest.mark.parametrize('shape', [(5, 4), (2, 3, 3, 4)])
@pytest.mark.parametrize('epsilon', [1e-5, 1e-3])
def test_channels_are_normalized_by_the_stored_statistics(shape, epsilon):
  scale, bias, mean = drawn(3, 4) * 2
  # A variance as small as epsilon, so that epsilon matters.
  var = np.array([1e-3, 0.5, 1, 9], 'f4')
  params = dict(scale=scale, bias=bias, mean=mean, var=var)
  x = drawn(*shape)
  made = batch_norm.BatchNorm(epsilon).apply({'params': params}, x)
  x, scale, bias, mean, var = (
      a.astype('f8') for a in (x, scale, bias, mean, var)
  )
  expected = (x - mean) / np.sqrt(var + epsilon) * scale + bias
  np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5)


def test_statistics_are_parameters_that_leave_the_input_unchanged_at_first():
  norm = batch_norm.BatchNorm(0.0)
  x = drawn(2, 4)
  made, variables = norm.init_with_output(jax.random.key(0), x)
  np.testing.assert_array_equal(made, x)
  assert variables.keys() == {'params'}
  assert variables['params'].keys() == {'scale', 'bias', 'mean', 'var'}
