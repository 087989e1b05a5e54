"""Blocks in training: recomputing, splitting over devices, dropout, starts."""

import functools
import math

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.models import transformer
from tests import programs
from tests import random_numbers
from tests.models import stacks


@pytest.mark.parametrize('policy', ['products', 'full'])
def test_recomputed_blocks_have_the_same_gradients(policy):
  def gradients(remat):
    stack = transformer.Stack(
        stacks.LAYERS, (*stacks.BLOCK, ('dropout', 0.2)), remat
    )

    def loss(params, x):
      rngs = {'dropout': random_numbers.key(7)}
      out = stack.apply({'params': params}, x, True, rngs=rngs)
      return jnp.sum(jnp.sin(out))

    text = str(jax.make_jaxpr(jax.grad(loss))(stacks.params(), stacks.inputs()))
    assert ('remat' in text or 'checkpoint' in text) == (remat != 'none')
    return jax.jit(jax.grad(loss))(stacks.params(), stacks.inputs())

  jax.tree.map(stacks.assert_close, gradients(policy), gradients('none'))


def _kept(policy, **options):
  """Shapes that the forward pass stores for the backward pass, sorted."""
  block = (*stacks.BLOCK, *options.items())
  stack = transformer.Stack(stacks.LAYERS, block, remat=policy)

  def loss(params, x):
    return jnp.sum(jnp.sin(stack.apply({'params': params}, x, True)))

  jaxpr = jax.make_jaxpr(jax.grad(loss))(stacks.params(), stacks.inputs())
  forward, _ = (
      equation
      for equation in programs.equations_in(jaxpr.jaxpr)
      if equation.primitive.name == 'scan'
  )
  _, *kept = (value.aval.shape for value in forward.outvars)
  return sorted(kept)


@pytest.mark.parametrize('gradient_dtype', [None, 'float32'])
def test_recomputing_keeps_products_with_kernels_and_no_scores(gradient_dtype):
  row = (stacks.LAYERS, *stacks.inputs().shape[:2])
  assert _kept('products', gradient_dtype=gradient_dtype) == sorted(
      [
          (*row, stacks.WIDTH),  # What each block is given.
          (
              *row,
              3,
              stacks.HEADS,
              stacks.WIDTH // stacks.HEADS,
          ),  # Queries, keys and values.
          (*row, stacks.WIDTH),  # The result of the attention.
          (*row, 4 * stacks.WIDTH),  # The hidden layer, before its activation.
      ]
  )


def test_recomputing_whole_blocks_keeps_only_their_inputs():
  inputs = (stacks.LAYERS, *stacks.inputs().shape[:2], stacks.WIDTH)
  assert _kept('full') == [inputs]


def test_a_block_splits_its_result_over_the_devices_of_the_batch():
  """Otherwise, the partitioner may gather whole batches between two blocks."""
  mesh = partitioning.make_mesh(dict(data=2, fsdp=2, model=2))
  block = transformer.unstack(stacks.params(), stacks.LAYERS)[0]
  x = np.zeros((4, 6, stacks.WIDTH), np.float32)
  with partitioning.activate(mesh):
    jaxpr = jax.make_jaxpr(transformer.Block(**dict(stacks.BLOCK)).apply)(
        {'params': block}, x
    )
  (constraint,) = (
      equation
      for equation in programs.equations_in(jaxpr.jaxpr)
      if equation.primitive.name == 'sharding_constraint'
  )
  assert constraint.outvars == jaxpr.jaxpr.outvars
  sharding = constraint.params['sharding']
  assert sharding.spec == PartitionSpec(('data', 'fsdp'), None, None)


@pytest.mark.parametrize('rate', ['dropout', 'attention_dropout'])
def test_dropout_acts_in_training_alone(rate):
  stack = transformer.Stack(stacks.LAYERS, (*stacks.BLOCK, (rate, 0.5)))

  @functools.partial(jax.jit, static_argnums=0)
  def run(train, rng):
    rngs = {'dropout': rng}
    return stack.apply(
        {'params': stacks.params()}, stacks.inputs(), train, rngs=rngs
    )

  stacks.assert_close(run(False, random_numbers.key(0)), stacks.outputs())
  first, second = (run(True, random_numbers.key(k)) for k in (0, 1))
  assert np.abs(first - stacks.outputs()).max() > 0.01
  assert np.abs(first - second).max() > 0.01


def test_layers_drop_out_differently():
  # Each layer only adds a constant, so the sum shows how many layers were
  # dropped.
  layers = 20
  stack = transformer.Stack(layers, (*stacks.BLOCK, ('dropout', 0.5)))
  x = np.zeros((2, 3, stacks.WIDTH), np.float32)

  @jax.jit
  def run():
    zeros = jax.tree.map(jnp.zeros_like, stack.init(random_numbers.key(0), x))
    zeros = partitioning.unbox(zeros)['params']
    zeros['layers']['mlp_out']['bias'] += 1
    rngs = {'dropout': random_numbers.key(1)}
    return stack.apply({'params': zeros}, x, True, rngs=rngs)

  # Each is kept with probability 1/2 and doubled: sums are even, 20 on average.
  kept = np.asarray(run()) / 2
  stacks.assert_close(kept, np.round(kept))
  # Five standard errors of a mean of 96 binomial numbers: 5 * sqrt(5 / 96).
  assert abs(kept.mean() - layers / 2) < 1.15
  assert 0 < kept.std() < 5


def test_layers_start_as_in_pytorch_and_differ():
  init = jax.jit(
      lambda: stacks.STACK.init(random_numbers.key(0), stacks.inputs())
  )
  layers = partitioning.unbox(init()['params'])['layers']
  for name, fan_in in (('mlp_in', stacks.WIDTH), ('mlp_out', 4 * stacks.WIDTH)):
    bound = 1 / math.sqrt(fan_in)
    for values in (layers[name]['kernel'], layers[name]['bias']):
      assert np.abs(values).max() <= bound
      assert np.abs(values).max() > 0.9 * bound
      assert (values[0] != values[1]).all()
