"""Plans estimate memory and cost; data, weights and devices need not exist."""

import dataclasses
import functools
import json
import math

import jax
import numpy as np
import pytest

from rq_jax import __main__ as main_lib
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import stored
from rq_jax.distributed import partitioning
from rq_jax.jobs.plan import estimate
from rq_jax.jobs.plan import table
from rq_jax.training import stage1
from rq_jax.training import stage2
from tests import tiny

pytestmark = pytest.mark.slow

MESH = dict(data=2, fsdp=2, model=2)


@functools.cache
def experiment(stage):
  if stage == 2:
    return tiny.stage2_config(mesh=MESH)
  return tiny.stage1_config(
      mesh=MESH,
      loss=dict(adversarial_weight=0.5),
      optimizer=dict(ema_decay=0.9),
  )


@pytest.fixture(scope='module')
def planned():
  """Plans of both stages on eight devices."""
  return {stage: estimate.make(experiment(stage), 8) for stage in (1, 2)}


def state_on_devices(stage):
  """The state that a plan describes, on the devices, all zeros."""
  mesh = partitioning.make_mesh(MESH)
  if stage == 1:
    task = stage1.build(experiment(1), mesh, total_steps=4)
    init = stage1.init_state
  else:
    task = stage2.build(
        experiment(2), mesh, total_steps=4, tokenizer=tiny.untrained_tokenizer()
    )
    init = stage2.init_state
  boxed = jax.eval_shape(init, task, jax.random.key(0))
  boxed = boxed.replace(rng=None)
  return jax.tree.map(
      lambda x, sharding: jax.device_put(np.zeros(x.shape, x.dtype), sharding),
      partitioning.unbox(boxed),
      partitioning.state_sharding(boxed, mesh),
  )


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


def test_verified_steps_need_memory_for_another_state(planned):
  verifies = tiny.changed(experiment(1), train=dict(verify_every=5))
  memory = dict(estimate.make(verifies, 8).memory)
  copied = memory.pop('copy for verify_every')
  assert memory == planned[1].memory
  # The step's number, the number of a failed one and the key.
  assert copied == on_first_device(state_on_devices(1)) + 8


@pytest.mark.parametrize('stage', [1, 2])
def test_parameters_are_all_told_once(stage, planned):
  made = planned[stage]
  arrays = sum(a.count * math.prod(a.shape) for a in made.arrays)
  told = sum(made.parameters.values()) + sum(made.others.values())
  if stage == 1:  # Averages of codewords are arrays, too.
    told += made.others['codebook'] + tiny.WORDS
  assert arrays == told
  assert all(made.parameters.values())


def test_a_step_takes_about_three_forward_passes(planned):
  made = planned[2]
  assert 2.5 < made.step_flops / made.forward_flops < 4


def test_the_perceptual_network_is_counted(planned):
  config = tiny.stage1_config(
      loss=dict(
          adversarial_weight=0.5, perceptual_weight=1.0, perceptual_path='LPIPS'
      )
  )
  extra = estimate.make(config, 1).step_flops - planned[1].step_flops
  # VGG-16 needs 15.3 x 10^9 multiplications at 224x224, by publications.
  expected = 3 * 2 * 15.3e9 * (tiny.SIZE / 224) ** 2
  np.testing.assert_allclose(extra, expected, rtol=0.01)


def test_devices_may_be_more_than_there_are():
  config = tiny.stage2_config(
      mesh=dict(data=-1, fsdp=4), data=dict(batch_size=512)
  )
  made = estimate.make(config, 256)
  assert made.mesh == {'data': 64, 'fsdp': 4, 'model': 1}
  with pytest.raises(ValueError, match='must be a multiple of 256'):
    estimate.make(tiny.stage2_config(mesh=dict(data=-1)), 256)


def test_axes_tell_which_devices_split_them(planned):
  kernels = {array.name: array for array in planned[2].arrays}
  mlp = kernels['depth_stack/layers/mlp_in/kernel']
  assert mlp.axes == ('layers', 'embed', 'mlp')
  assert mlp.split == ('', 'fsdp', 'model')
  assert mlp.count == 2  # The spatial transformer has the same.
  assert mlp.bytes_per_device == math.prod(mlp.shape) * 4 // 4


def test_the_tokenizer_is_counted_where_it_is(tmp_path):
  folder = tmp_path / 'tokenizer'
  tokenizer = tiny.untrained_tokenizer()
  inference_copy.export(folder, tiny.stage1_config(), tokenizer.variables)
  known = estimate.make(tiny.stage2_config(tokenizer=str(folder)), 1)
  unknown = estimate.make(tiny.stage2_config(), 1)
  # Its encoder is part of the step, because batches have images.
  assert known.step_flops > unknown.step_flops
  assert known.memory['frozen tokenizer'] > unknown.memory['frozen tokenizer']
  assert known.notes == ('Activations are not counted.',)
  assert unknown.notes == (
      *known.notes,
      'The tokenizer does not exist yet: its networks are not counted.',
  )


def test_a_model_of_texts_is_planned_though_no_source_has_any():
  texts = dict(num_classes=0, null_class=False, text_vocab_size=20)
  config = tiny.stage2_config(model=texts | dict(text_length=3))
  made = estimate.make(config, 1)
  assert made.notes[-1] == (
      'No data source provides texts: this cannot be trained yet.'
  )
  assert made.step_flops > made.forward_flops > 0
  labels = estimate.make(tiny.stage2_config(), 1)
  assert labels.notes == made.notes[:-1]


def test_a_prior_of_maps_that_are_not_square_is_planned_without_a_tokenizer():
  shapes = [(3, 4, 2), (4, 3, 2), (2, 6, 2)]
  wide, tall, long = (
      estimate.make(tiny.stage2_config(model=dict(code_shape=shape)), 1)
      for shape in shapes
  )
  # All have twelve positions.
  assert wide.forward_flops == tall.forward_flops == long.forward_flops > 0
  assert wide.memory == tall.memory == long.memory


def test_text_shows_every_figure(planned):
  for made in planned.values():
    text = table.text(made)
    assert all(len(line) <= 80 for line in text.splitlines())
    for number in [*made.parameters.values(), *made.others.values()]:
      assert f'{number:,}' in text
    for name in made.memory:
      assert name in text
    for note in made.notes:
      assert f'  {note}\n' in text
  assert 'embed:fsdp' in table.text(planned[2])


def _export(config):
  """The lines about the export in the plan of an experiment."""
  text = table.text(estimate.make(config, 1))
  return text[text.index('Export') :].splitlines()


YES = 'Export to the official code: yes'
NO = 'Export to the official code: no'
GROUPS = [
    '  The RQ-VAE has config.model.norm_groups=4, but the official code has 32'
    ' groups',
    '    in every GroupNorm.',
]
BLOCKS = [
    '  The RQ-VAE has config.model.res_blocks=(1, 0), but the official code has'
    ' the',
    '    same number of residual blocks in every level.',
]
TEXTS = [
    '  The RQ-Transformer has config.model.null_class=True and',
    '    config.model.text_length=3, but the official code has no null class in'
    ' text',
    '    models.',
]
SAFETENSORS = ['  `convert --to=safetensors` exports any model.']


def _stage1(**model):
  return tiny.stage1_config(model=dict(channels=32, norm_groups=32) | model)


def test_a_plan_shows_whether_the_official_code_can_hold_a_tokenizer():
  both = _stage1(norm_groups=4, res_blocks=(1, 0))
  assert _export(_stage1()) == [YES]
  assert _export(both) == [NO, *GROUPS, *BLOCKS, *SAFETENSORS]


def test_a_plan_shows_whether_the_official_code_can_hold_a_generator(tmp_path):
  texts = dict(num_classes=0, text_vocab_size=20, text_length=3)
  unknown = tiny.stage2_config()
  assert _export(unknown) == [f'{YES}, if its tokenizer can be exported']
  assert _export(tiny.stage2_config(model=texts)) == [NO, *TEXTS, *SAFETENSORS]
  folders = {}
  for name, model in (('some', {}), ('none', dict(norm_groups=4))):
    folders[name] = tmp_path / name
    folders[name].mkdir()
    stored.write_config(folders[name], _stage1(**model))
  known = tiny.stage2_config(tokenizer=str(folders['some']))
  assert _export(known) == [YES]
  refused = tiny.stage2_config(tokenizer=str(folders['none']), model=texts)
  assert _export(refused) == [NO, *GROUPS, *TEXTS, *SAFETENSORS]


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
  assert 'Add --dry_run' in capsys.readouterr().err


def test_a_plan_shows_the_slices(planned):
  plan = dataclasses.replace(planned[1], slices=2)
  assert '2 slices, each with data 1 and the other axes.' in table.text(plan)
  assert 'slices' not in table.text(planned[1])
