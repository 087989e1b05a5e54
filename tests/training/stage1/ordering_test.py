"""The order in memory of gradients, in programs for GPUs."""

import jax
import jax.numpy as jnp
import pytest

from rq_jax.distributed import partitioning
from rq_jax.training import stage1
from rq_jax.training.stage1 import ordering
from tests import tiny
from tests.training.stage1 import steps


def text_of(fn, *args, platform='cuda'):
  traced = jax.jit(fn).trace(*args)
  return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize(
    ('platform', 'shape', 'times'),
    [
        ('cuda', dict(data=8), 1),
        ('rocm', dict(data=8), 1),
        ('cuda', dict(data=4, fsdp=2), 0),
        ('cuda', dict(data=4, model=2), 0),
        ('cpu', dict(data=8), 0),
        ('tpu', dict(data=8), 0),
    ],
)
def test_only_gpus_that_hold_all_parameters_order_gradients(
    platform, shape, times
):
  mesh = partitioning.make_mesh(shape)
  task = tiny.stage1_task(tiny.stage1_config(), mesh)
  text = text_of(
      lambda x: ordering.as_parameters(task, x),
      jnp.ones((3, 3, 2, 4)),
      platform=platform,
  )
  assert text.count('@LayoutConstraint') == times
  assert text.count('stablehlo.optimization_barrier') == times
  if times:
    assert 'dense<[3, 2, 1, 0]>' in text  # From the fastest to the slowest.


def test_a_step_orders_the_gradients_of_both_networks():
  task = steps.task_of('batch')
  state = tiny.initial_state(stage1, task)
  text = text_of(stage1.train_step, task, state, {'image': tiny.images()})
  trained = jax.tree.leaves((state.params, state.disc_params))
  assert text.count('@LayoutConstraint') == len(trained)
