"""The linear layer, gradients of its parameters, and how CPUs compute them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.models import linear

INPUTS = np.random.default_rng(0).normal(size=(5, 7, 2, 3)).astype(np.float32)


def _layer(**options):
  axes = ('heads', None, 'embed')
  return linear.Projection((2, 3, 4), axes, summed=2, **options)


def _gradients(layer, dtype):
  """Gradients of the parameters and of the inputs, for a given output's."""
  x = jnp.asarray(INPUTS, dtype)
  params = partitioning.unbox(layer.init(jax.random.key(0), x))
  out, pull = jax.vjp(layer.apply, params, x)
  given = np.random.default_rng(1).normal(size=out.shape)
  given = jnp.asarray(given, out.dtype)
  grads, to_inputs = pull(given)
  return grads['params'], to_inputs, given


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_gradients_in_float32_are_not_rounded(dtype):
  layer = _layer(dtype=dtype, gradient_dtype='float32')
  grads, to_inputs, given = _gradients(layer, dtype)
  x = np.asarray(jnp.asarray(INPUTS, dtype), np.float64)
  given = np.asarray(given, np.float64)
  kernel = np.einsum('btnh,bte->nhe', x, given)
  np.testing.assert_allclose(grads['kernel'], kernel, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(grads['bias'], given.sum((0, 1)), rtol=1e-5)
  assert to_inputs.dtype == dtype and grads['kernel'].dtype == np.float32
  _, expected, _ = _gradients(_layer(dtype=dtype), dtype)
  np.testing.assert_allclose(
      np.float32(to_inputs), np.float32(expected), rtol=1e-2, atol=1e-6
  )


def test_gradients_are_rounded_by_default():
  grads, _, _ = _gradients(_layer(dtype='bfloat16'), 'bfloat16')
  for gradient in jax.tree.leaves(grads):
    np.testing.assert_array_equal(
        gradient, gradient.astype(jnp.bfloat16).astype(jnp.float32)
    )


def test_the_result_does_not_depend_on_the_dtype_of_gradients():
  plain, other = _layer(), _layer(gradient_dtype='float32')
  variables = plain.init(jax.random.key(0), INPUTS)
  np.testing.assert_array_equal(
      plain.apply(variables, INPUTS), other.apply(variables, INPUTS)
  )


def _gradient_program(platform):
  """The program for the gradients of a layer whose kernel has three axes."""
  layer = _layer()
  params = partitioning.unbox(layer.init(jax.random.key(0), INPUTS))
  gradients = jax.jit(
      jax.grad(lambda p: jnp.sum(jnp.sin(layer.apply(p, INPUTS))))
  )
  return gradients.trace(params).lower(lowering_platforms=(platform,))


def test_cpus_sum_over_the_rows_of_two_matrices_in_their_order():
  text = _gradient_program('cpu').compile().as_text()
  (summed,) = re.findall(r'f32\[6,4\]\S* dot\(.*', text)
  assert 'lhs_contracting_dims={0}, rhs_contracting_dims={0}' in summed


@pytest.mark.parametrize('platform', ['cpu', 'tpu'])
def test_only_programs_for_cpus_have_matrices_of_rows(platform):
  text = _gradient_program(platform).as_text()
  of_rows = 'contracting_dims = [0] x [0], precision'
  assert (of_rows in text) == (platform == 'cpu')


def test_programs_for_other_platforms_sum_over_the_rows_too():
  outputs = np.cos(INPUTS[..., 0, :])
  found = linear._sum_over_rows(INPUTS, outputs, rows=2, dtype=jnp.float32)
  expected = np.einsum('btnh,bte->nhe', np.float64(INPUTS), outputs)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_no_rows_give_gradients_of_zero():
  layer = _layer()
  params = partitioning.unbox(layer.init(jax.random.key(0), INPUTS))
  gradients = jax.grad(lambda p: jnp.sum(layer.apply(p, INPUTS[:, :0])))
  for gradient in jax.tree.leaves(gradients(params)):
    np.testing.assert_array_equal(gradient, 0)
