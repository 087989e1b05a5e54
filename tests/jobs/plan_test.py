"""Plans tell what an experiment takes, without anything that it names."""

import json
import math

import jax
import numpy as np
import pytest

from rq_jax import __main__ as main_lib
from rq_jax import checkpoint
from rq_jax import partitioning
from rq_jax.jobs import plan as plan_text
from rq_jax.training import plan
from rq_jax.training import stage1
from rq_jax.training import stage2
from tests import tiny

MESH = dict(data=2, fsdp=2, model=2)


@pytest.fixture(scope='module')
def planned():
  """Plans of both stages on eight devices."""
  first = tiny.stage1_config(
      mesh=MESH,
      loss=dict(adversarial_weight=0.5),
      optimizer=dict(ema_decay=0.9),
  )
  second = tiny.stage2_config(mesh=MESH)
  return {1: plan.make(first, 8), 2: plan.make(second, 8)}


def state_on_devices(stage):
  """The state that a plan describes, in place."""
  mesh = partitioning.make_mesh(MESH)
  if stage == 1:
    checked = tiny.stage1_config(
        loss=dict(adversarial_weight=0.5), optimizer=dict(ema_decay=0.9)
    )
    module = stage1
    task = stage1.build(checked, mesh, total_steps=4)
  else:
    checked, module = tiny.stage2_config(), stage2
    task = stage2.build(
        checked, mesh, total_steps=4, tokenizer=tiny.untrained_tokenizer()
    )
    host = jax.device_get(task.tokenizer_variables)
    task = task.replace(tokenizer_variables=host)
  batch = {'image': np.zeros((8, 16, 16, 3), np.float32)}
  state = tiny.initial_state(module, task, batch)
  boxed = jax.eval_shape(module.init_state, task, jax.random.key(0), batch)
  return jax.device_put(state, partitioning.state_sharding(boxed, mesh))


def on_first_device(tree):
  return sum(
      shard.data.nbytes
      for leaf in jax.tree.leaves(tree)
      for shard in leaf.addressable_shards
      if shard.device == jax.devices()[0]
  )


@pytest.mark.parametrize('stage', [1, 2])
def test_memory_is_what_the_state_takes_on_a_device(stage, planned):
  state, memory = state_on_devices(stage), planned[stage].memory
  trained = [state.params, getattr(state, 'disc_params', None)]
  moments = [state.opt_state, getattr(state, 'disc_opt_state', None)]
  assert memory['parameters'] == on_first_device(trained)
  assert memory['gradients'] == memory['parameters']
  assert memory['optimizer'] == on_first_device(moments)
  if stage == 1:
    assert memory['averaged parameters'] == on_first_device(state.ema_params)
    assert memory['codebook'] == on_first_device(state.codebook)


@pytest.mark.parametrize('stage', [1, 2])
def test_parameters_are_all_told_once(stage, planned):
  made = planned[stage]
  arrays = sum(a.count * math.prod(a.shape) for a in made.arrays)
  told = sum(made.parameters.values()) + sum(made.others.values())
  if stage == 1:  # Its averages are arrays, but no codewords.
    told += made.others['codebook'] + tiny.WORDS
  assert arrays == told
  assert all(made.parameters.values())


def test_a_step_takes_about_three_forward_passes(planned):
  made = planned[2]
  assert 2.5 < made.step_flops / made.forward_flops < 4


def test_the_perceptual_network_is_counted(planned):
  config = tiny.stage1_config(loss=dict(perceptual_weight=1.0))
  without = plan.make(tiny.stage1_config(), 1).step_flops
  # 30.7 thousand million operations at 224x224, as published for VGG-16.
  expected = 3 * 30.7e9 * (tiny.SIZE / 224) ** 2
  extra = plan.make(config, 1).step_flops - without
  np.testing.assert_allclose(extra, expected, rtol=0.01)


def test_devices_may_be_more_than_there_are():
  config = tiny.stage2_config(
      mesh=dict(data=-1, fsdp=4), data=dict(batch_size=512)
  )
  made = plan.make(config, 256)
  assert made.mesh == {'data': 64, 'fsdp': 4, 'model': 1}
  with pytest.raises(ValueError, match='must be a multiple of 256'):
    plan.make(tiny.stage2_config(mesh=dict(data=-1)), 256)


def test_axes_tell_which_devices_split_them(planned):
  kernels = {array.name: array for array in planned[2].arrays}
  mlp = kernels['spatial_stack/layers/mlp_in/kernel']
  assert mlp.axes == ('layers', 'embed', 'mlp')
  assert mlp.split == ('', 'fsdp', 'model')
  assert mlp.count == 2  # The depth transformer's is alike.
  assert mlp.bytes_per_device == math.prod(mlp.shape) * 4 // 4


def test_the_tokenizer_is_counted_where_it_is(tmp_path):
  folder = tmp_path / 'tokenizer'
  tokenizer = tiny.untrained_tokenizer()
  checkpoint.export(folder, tokenizer.config, tokenizer.variables)
  known = plan.make(tiny.stage2_config(tokenizer=str(folder)), 1)
  unknown = plan.make(tiny.stage2_config(), 1)
  # Its encoder is part of the step, as there are images and no features.
  assert known.step_flops > unknown.step_flops
  assert known.memory['frozen tokenizer'] > unknown.memory['frozen tokenizer']
  assert unknown.notes[-1].endswith('there is no unused')
  assert known.notes == unknown.notes[:-1]


def test_text_shows_every_figure(planned):
  for made in planned.values():
    text = plan_text.text(made)
    assert all(len(line) <= 80 for line in text.splitlines())
    for number in [*made.parameters.values(), *made.others.values()]:
      assert f'{number:,}' in text
    for name in made.memory:
      assert name in text
  assert 'embed:fsdp' in plan_text.text(planned[2])


def test_a_billion_parameters_are_planned_without_making_any(capsys):
  code = main_lib.main(
      [
          'train',
          '--config=configs/imagenet256/rqtransformer.py:3.8b',
          '--config.tokenizer=nowhere',
          '--config.data.path=nowhere',
          '--dry_run',
          '--devices=256',
      ]
  )
  assert code == 0
  output = capsys.readouterr().out
  resolved, end = json.JSONDecoder().raw_decode(output)
  assert resolved['model']['width'] == 2560
  text = output[end:]
  assert '3,822,488,064' in text
  assert 'fsdp 256' in text


def test_devices_are_for_plans_alone(capsys):
  words = ['train', '--config=configs/digits/rqvae.py', '--workdir=x']
  assert main_lib.main([*words, '--devices=2']) == 1
  assert 'add --dry_run' in capsys.readouterr().err
