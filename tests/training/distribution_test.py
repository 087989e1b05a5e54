"""A step on eight devices, in any mesh, equals the step on one device."""

import functools

import jax
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.training import stage1
from rq_jax.training import stage2
from tests import tiny
from tests.training import on_mesh

pytestmark = pytest.mark.slow

MESHES = {
    'data': dict(data=8),
    'fsdp': dict(fsdp=8),
    'all': dict(data=2, fsdp=2, model=2),
}
# These take longer than the rest of the suite can afford.
MORE = {
    'model': dict(model=8),
    'data and fsdp': dict(data=2, fsdp=4),
    'data and model': dict(data=4, model=2),
    'fsdp and model': dict(fsdp=4, model=2),
    'slices': dict(data=4, fsdp=2, slices=2),
}
# Float32 sums over the batch or over split channels have another order, and
# GroupNorm and BatchNorm enlarge the difference.
CLOSE = 5e-4


@functools.cache
def experiment(stage):
  if stage is stage1:
    return tiny.stage1_config(
        loss=dict(adversarial_weight=0.5), model=dict(dropout=0.1)
    )
  return tiny.stage2_config(loss=dict(label_dropout=0.25))


@functools.cache
def problem(stage):
  """A task, its initial state on the host, and a batch."""
  batch = {'image': np.asarray(tiny.images()), 'label': np.arange(tiny.BATCH)}
  build = tiny.stage1_task if stage is stage1 else tiny.stage2_task
  task = build(experiment(stage))
  if stage is stage2:
    # Two chunks, so that the loop over them is split over devices as well.
    task = task.replace(chunks=2)
  return task, tiny.initial_state(stage, task), batch


def step_on(stage, mesh):
  """The state after one step on a mesh, and its metrics."""
  return on_mesh.step(stage, *problem(stage), mesh)


@functools.cache
def alone(stage):
  return step_on(stage, tiny.one_device())


@pytest.mark.parametrize(
    'mesh',
    [*MESHES, *(pytest.param(name, marks=pytest.mark.drill) for name in MORE)],
)
@pytest.mark.parametrize(
    'stage', [stage1, stage2], ids=lambda module: module.__name__[-6:]
)
def test_losses_and_gradients_do_not_depend_on_the_mesh(stage, mesh):
  state, metrics = step_on(stage, partitioning.make_mesh((MESHES | MORE)[mesh]))
  expected, expected_metrics = alone(stage)
  for name, value in expected_metrics.items():
    np.testing.assert_allclose(
        metrics[name], value, rtol=1e-4, atol=1e-6, err_msg=name
    )
  tiny.assert_trees_close(state.opt_state[0], expected.opt_state[0], CLOSE)
  if stage is stage1:
    tiny.assert_trees_close(
        state.disc_opt_state[0], expected.disc_opt_state[0], CLOSE
    )
    # Its sums are over the global batch, as is the choice of new codewords.
    tiny.assert_trees_close(state.codebook, expected.codebook, CLOSE)
    tiny.assert_trees_close(state.disc_stats, expected.disc_stats, CLOSE)
  assert_spread(state.params, mesh)


def assert_spread(params, mesh):
  """If the mesh splits parameters, devices hold parts of the largest ones."""
  most = max(p.size for p in jax.tree.leaves(params))
  parts = [
      p.addressable_shards[0].data.size / most
      for p in jax.tree.leaves(params)
      if p.size == most
  ]
  assert min(parts) == 1 if mesh == 'data' else min(parts) <= 1 / 2
