"""The perceptual network is restored exactly, or refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.checkpoints import inference_copy
from rq_jax.distributed import partitioning
from rq_jax.models import lpips
from rq_jax.training.stage1 import perceptual
from tests import official
from tests import tiny


def test_a_network_is_restored_onto_every_device():
  mesh = partitioning.make_mesh(dict(data=2), devices=jax.devices()[:2])
  network, variables = perceptual.restore(
      tiny.perceptual_folder(), mesh, dtype='bfloat16'
  )
  assert network == lpips.LPIPS(dtype='bfloat16')
  expected = official.lpips_params(official.drawn_weights('lpips'))
  tiny.assert_trees_equal(variables, {'params': expected})
  for leaf in jax.tree.leaves(variables):
    assert leaf.sharding == partitioning.replicated(mesh)
    assert leaf.dtype == np.float32


@pytest.mark.parametrize('holds', ['nothing', 'one kernel alone'])
def test_a_folder_of_something_else_is_refused(tmp_path, holds):
  path = tmp_path / 'lpips'
  if holds != 'nothing':
    state = {'params': {'conv_0': {'kernel': np.zeros((3, 3, 3, 64))}}}
    inference_copy.export(path, None, state)
  with pytest.raises(ValueError) as error:
    perceptual.restore(str(path), tiny.one_device())
  message = str(error.value)
  assert f'config.loss.perceptual_path={path} holds no perceptual' in message
  assert 'convert --from=lpips' in message
  assert message.endswith('Change --config.loss.perceptual_path.')


def test_a_step_takes_the_network_in_the_dtype_of_the_model():
  experiment = tiny.stage1_config(
      model=dict(dtype='bfloat16'),
      loss=dict(
          perceptual_weight=1.0, perceptual_path=tiny.perceptual_folder()
      ),
  )
  task = tiny.stage1_task(experiment)
  assert task.perceptual.dtype == 'bfloat16'
  assert jax.tree.leaves(task.perceptual_variables)[0].dtype == jnp.float32
