"""Counted operations against counts by hand."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from rq_jax.jobs.plan import flops
from rq_jax.models import build
from rq_jax.models import rqtransformer


def zeros(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_a_matrix_product_takes_two_operations_for_each_pair():
  assert flops.count(jnp.matmul, zeros(3, 5), zeros(5, 7)) == 2 * 3 * 5 * 7


def test_a_batched_product_counts_each_of_the_batch():
  product = functools.partial(jnp.einsum, 'bqnh,bknh->bnqk')
  counted = flops.count(product, zeros(2, 3, 4, 5), zeros(2, 6, 4, 5))
  assert counted == 2 * (2 * 3 * 6 * 4 * 5)


@pytest.mark.parametrize('groups', [1, 4])
@pytest.mark.parametrize('stride', [1, 2])
def test_a_convolution_and_both_its_gradients_take_the_same(groups, stride):
  conv = nn.Conv(8, (3, 3), stride, use_bias=False, feature_group_count=groups)
  kernel = zeros(3, 3, 4 // groups, 8)

  def loss(kernel, images):
    return jnp.sum(conv.apply({'params': {'kernel': kernel}}, images))

  images = zeros(2, 16, 16, 4)
  side = 16 // stride
  forward = 2 * (2 * side * side * 8) * (9 * 4 // groups)
  assert flops.count(loss, kernel, images) == forward
  gradients = jax.value_and_grad(loss, argnums=(0, 1))
  assert flops.count(gradients, kernel, images) == 3 * forward


def test_a_loop_counts_as_often_as_it_turns():
  def loop(x, kernels):
    return jax.lax.scan(lambda x, k: (x @ k, None), x, kernels)[0]

  assert flops.count(loop, zeros(3, 5), zeros(7, 5, 5)) == 7 * 2 * 3 * 5 * 5


def test_the_larger_branch_counts():
  def either(flag, x):
    return jax.lax.cond(flag, lambda x: x @ x @ x, lambda x: x @ x, x)

  flag = jax.ShapeDtypeStruct((), bool)
  assert flops.count(either, flag, zeros(4, 4)) == 2 * 2 * 4**3


def test_what_is_computed_twice_counts_twice():
  def loss(remat, kernel, x):
    def hidden(x):
      return jnp.tanh(jnp.tanh(x @ kernel) @ kernel)

    return jnp.sum((jax.checkpoint(hidden) if remat else hidden)(x))

  args = zeros(4, 4), zeros(4, 4)
  once = flops.count(jax.grad(functools.partial(loss, False)), *args)
  twice = flops.count(jax.grad(functools.partial(loss, True)), *args)
  # Two products, the gradients of both kernels, and of the first result.
  assert once == 5 * 2 * 4**3
  assert twice > once


def test_an_rqtransformer_takes_two_operations_a_parameter_and_token():
  model = rqtransformer.RQTransformer(num_classes=1000)
  params = build.rqtransformer_variables(model)['params']
  codes = jax.ShapeDtypeStruct((1, 8, 8, 4), jnp.int32)
  label = jax.ShapeDtypeStruct((1, 1), jnp.int32)

  def forward(params, codes, label, words):
    return model.apply({'params': params}, codes, label, (words,))

  def size(name):
    return sum(math.prod(x.shape) for x in jax.tree.leaves(params[name]))

  expected = 2 * 64 * size('spatial_stack')
  expected += 2 * 256 * (size('depth_stack') + size('classifier'))
  counted = flops.count(forward, params, codes, label, zeros(16384, 256))
  # Attention and the projections of codewords come on top.
  assert expected < counted < 1.02 * expected
