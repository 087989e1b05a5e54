"""Variables are restored if they fit a model; errors name what does not."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.checkpoints import runs
from rq_jax.checkpoints import stored
from rq_jax.distributed import partitioning
from tests import states


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run with a checkpoint of step 3; tests only read it."""
  folder = tmp_path_factory.mktemp('run')
  states.save(
      folder, states.state(), meta={'data': {'step': 3, 'grain': 'position'}}
  )
  return folder


def test_inference_takes_averaged_parameters_where_there_are_some(
    run, tmp_path
):
  state, shapes = states.state(), states.shapes(states.variables())
  variables, found = stored.restore_variables(run, shapes)
  states.assert_same(variables['params'], state.ema_params)
  states.assert_same(variables['codebook'], state.codebook)
  assert found == f'averaged parameters of step 3 from {run}'

  variables, found = stored.restore_variables(run, shapes, ema=False)
  states.assert_same(variables, states.variables())
  assert found == f'parameters of step 3 from {run}'

  states.save(tmp_path, states.state(averaged=False))
  variables, found = stored.restore_variables(tmp_path, shapes)
  states.assert_same(variables, states.variables())
  assert found == f'parameters of step 3 from {tmp_path}'


def test_inference_in_bfloat16_leaves_the_codebook_alone(run):
  variables, _ = stored.restore_variables(
      run, states.shapes(states.variables()), ema=False, dtype='bfloat16'
  )
  expected = jax.tree.map(
      lambda p: p.astype(jnp.bfloat16), states.variables()['params']
  )
  states.assert_same(variables['params'], expected)
  states.assert_same(variables['codebook'], states.variables()['codebook'])


def test_variables_are_placed_as_asked(run):
  shapes = states.shapes(states.variables())
  on_one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  variables, _ = stored.restore_variables(run, shapes)
  assert {x.sharding for x in jax.tree.leaves(variables)} == {on_one}

  mesh = states.mesh('2x4')
  whole = partitioning.replicated(mesh)
  variables, _ = stored.restore_variables(run, shapes, sharding=whole)
  assert {x.sharding for x in jax.tree.leaves(variables)} == {whole}

  each = states.shardings(shapes, mesh)
  variables, _ = stored.restore_variables(run, shapes, sharding=each)
  assert jax.tree.map(lambda x: x.sharding, variables) == each
  states.assert_same(variables['params'], states.state().ema_params)


def test_variables_of_an_older_step_may_be_asked_for(tmp_path):
  with runs.Checkpoints(tmp_path, keep=2) as checkpoints:
    for step in (9, 10):
      state = {'params': {'w': jnp.full((2,), float(step))}}
      checkpoints.save(step, state, {})
  shapes = states.shapes(state)
  for step, value in ((None, 10), (9, 9), (10, 10)):
    variables, _ = stored.restore_variables(tmp_path, shapes, step=step)
    np.testing.assert_array_equal(variables['params']['w'], [value, value])
  with pytest.raises(ValueError, match=r'no checkpoint of step 8.*\[9, 10\]'):
    stored.restore_variables(tmp_path, shapes, step=8)


def test_a_checkpoint_of_another_model_is_told_by_name_and_shape(run):
  shapes = states.shapes(states.variables())
  shapes['params']['dense']['kernel'] = jax.ShapeDtypeStruct((16, 9), 'f4')
  expected = (
      r'ema_params.dense.kernel should be \(16, 9\), but it has \(16, 8\)'
  )
  with pytest.raises(ValueError, match=expected):
    stored.restore_variables(run, shapes)

  shapes = states.shapes(states.variables())
  shapes['params']['extra'] = jax.ShapeDtypeStruct((3,), 'f4')
  expected = r'params.extra should be \(3,\), but it has none'
  with pytest.raises(ValueError, match=expected):
    stored.restore_variables(run, shapes, ema=False)


@pytest.mark.parametrize('folder', ['missing', 'empty', 'without'])
def test_a_folder_without_a_checkpoint_says_so(tmp_path, folder):
  (tmp_path / 'empty' / 'checkpoints').mkdir(parents=True)
  (tmp_path / 'without').mkdir()
  with pytest.raises(ValueError, match='no complete checkpoint yet'):
    stored.restore_variables(
        tmp_path / folder, states.shapes(states.variables())
    )


def test_restoring_for_inference_logs_no_warnings(run, caplog):
  stored.restore_variables(run, states.shapes(states.variables()))
  assert stored.has_collection(run, 'codebook')
  assert not caplog.records


def test_a_checkpoint_knows_which_collections_it_has(run, tmp_path):
  names = ('params', 'codebook', 'ema_params', 'disc_params')
  has = [stored.has_collection(run, name) for name in names]
  assert has == [True, True, True, False]
  states.save(tmp_path, states.state(averaged=False))
  assert not stored.has_collection(tmp_path, 'ema_params')


def test_a_config_comes_back_and_leaves_nothing_else(tmp_path):
  stored.write_config(tmp_path, states.config())
  stored.write_config(tmp_path, states.config(embed_dim=32))
  assert [path.name for path in tmp_path.iterdir()] == ['config.json']
  assert stored.read_config(tmp_path) == states.config(embed_dim=32)
  fields = json.loads((tmp_path / 'config.json').read_text())
  assert fields['model']['code_shape'] == [8, 8, 2]


def test_a_folder_of_the_wrong_kind_says_what_it_is(tmp_path):
  with pytest.raises(ValueError, match='holds no config.json'):
    stored.read_config(tmp_path / 'missing')
  stored.write_config(tmp_path, states.config())
  assert stored.read_config(tmp_path, stage=1) == states.config()
  with pytest.raises(ValueError, match='RQ-VAE .* but an RQ-Transformer'):
    stored.read_config(tmp_path, stage=2)
  stored.write_config(tmp_path, states.other_stage())
  with pytest.raises(ValueError, match='RQ-Transformer .* but an RQ-VAE'):
    stored.read_config(tmp_path, stage=1)


def test_models_in_a_folder_that_is_none_are_named(tmp_path):
  for name, config in (
      ('rqvae', states.config()),
      ('prior', states.other_stage()),
  ):
    (tmp_path / name).mkdir()
    stored.write_config(tmp_path / name, config)
  for name, text in (('features', '{"shape": []}'), ('torn', '{"stage": 1')):
    (tmp_path / name).mkdir()
    (tmp_path / name / 'config.json').write_text(text)
  rqvae = f'{tmp_path}/rqvae, an RQ-VAE (stage 1)'
  prior = f'{tmp_path}/prior, an RQ-Transformer (stage 2)'
  for stage, words in ((None, f'{prior}; {rqvae}'), (1, rqvae), (2, prior)):
    with pytest.raises(ValueError, match='holds no config.json') as error:
      stored.read_config(tmp_path, stage=stage)
    assert str(error.value).endswith(
        f'Give the path of a model in it: {words}.'
    )
  with pytest.raises(ValueError, match='Check the path.$'):
    stored.read_rqvae(tmp_path / 'features' / 'deeper')


@pytest.mark.parametrize('text', ['{"stage": 1', '[]', '{"stage": 7}'])
def test_a_damaged_config_is_named(text, tmp_path):
  (tmp_path / 'config.json').write_text(text)
  with pytest.raises(ValueError, match=f'^{tmp_path}/config.json is '):
    stored.read_config(tmp_path)
