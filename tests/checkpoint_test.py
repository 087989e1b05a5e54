"""What is saved comes back bit for bit; what does not fit is told by name."""

import errno
import functools
import json
import shutil

import flax
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import optax
import pytest

from rq_jax import checkpoint
from rq_jax import checkpoint_steps
from rq_jax import config as config_lib
from rq_jax import files
from rq_jax import partitioning
from rq_jax import run_checkpoints
from rq_jax.models import codebook

_MESHES = {
    '8': dict(fsdp=8),
    '1': dict(data=-1),
    '2x4': dict(data=2, fsdp=4),
}


@flax.struct.dataclass
class _State:
  """All kinds of leaves that a training state has."""

  step: jax.Array
  rng: jax.Array
  params: dict
  codebook: dict
  opt_state: optax.OptState
  ema_params: dict | None


@functools.cache
def _state(*, averaged=True, seed=0):
  keys = jax.random.split(jax.random.key(seed), 4)
  params = {
      'dense': {
          'kernel': jax.random.normal(keys[0], (16, 8)),
          'bias': jax.random.normal(keys[1], (8,)),
      }
  }
  opt_state = optax.adam(1e-3).init(params)
  return _State(
      step=jnp.asarray(3, jnp.int32),
      rng=keys[2],
      params=params,
      codebook={'quantizer': {'shared': codebook.init(keys[3], 8, 4)}},
      opt_state=jax.tree.map(lambda x: x + 1, opt_state),
      ema_params=(jax.tree.map(lambda p: p * 2, params) if averaged else None),
  )


def _variables(seed=0):
  state = _state(seed=seed)
  return {'params': state.params, 'codebook': state.codebook}


def _shapes(tree):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def _mesh(name):
  devices = jax.devices()[:1] if name == '1' else None
  return partitioning.make_mesh(_MESHES[name], devices=devices)


def _shardings(tree, mesh):
  """Splits matrices along the rows, as far as the mesh asks for it."""
  rows = NamedSharding(mesh, PartitionSpec('fsdp'))
  whole = partitioning.replicated(mesh)
  return jax.tree.map(lambda x: rows if x.ndim == 2 else whole, tree)


def _bits(x):
  if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    x = jax.random.key_data(x)
  return np.asarray(x).view(np.uint8).tolist() if x.ndim else x.item()


def _assert_same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
    assert x.dtype == y.dtype and x.shape == y.shape
    assert _bits(x) == _bits(y)


def _save(workdir, state, step=3, meta=None, keep=2):
  with run_checkpoints.Checkpoints(workdir, keep=keep) as checkpoints:
    checkpoints.save(step, state, meta or {})


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run with a checkpoint of step 3; tests read it only."""
  folder = tmp_path_factory.mktemp('run')
  _save(folder, _state(), meta={'data': {'step': 3, 'grain': 'position'}})
  return folder


def _config(**model):
  fields = dict(
      image_size=16,
      channels=8,
      channel_multipliers=(1, 2),
      norm_groups=4,
      code_shape=(8, 8, 2),
      **model,
  )
  return config_lib.check(
      dict(
          stage=1,
          data=dict(image_size=16),
          model=fields,
          train=dict(steps=1),
      )
  )


def _other_stage():
  return config_lib.check(
      dict(stage=2, tokenizer='runs/rqvae', train=dict(steps=1))
  )


def test_a_state_comes_back_bit_for_bit_on_any_mesh(tmp_path):
  state = jax.device_put(_state(), _shardings(_state(), _mesh('8')))
  for step, name in enumerate(('8', '1', '2x4')):
    shardings = _shardings(state, _mesh(name))
    meta = {'position': step, 'order': [1, 2]}
    with run_checkpoints.Checkpoints(tmp_path, keep=3) as checkpoints:
      checkpoints.save(step, state, meta)
      checkpoints.wait()
      state, found = checkpoints.restore(step, _shapes(state), shardings)
    assert found == meta
    _assert_same(state, _state())
    assert jax.tree.map(lambda x: x.sharding, state) == shardings
  assert jax.random.uniform(state.rng) == jax.random.uniform(_state().rng)


def test_a_state_may_be_donated_once_its_save_has_begun(tmp_path):
  state = jax.tree.map(jnp.copy, _state())
  shardings = jax.tree.map(lambda x: x.sharding, state)
  with run_checkpoints.Checkpoints(tmp_path, keep=1) as checkpoints:
    checkpoints.save(1, state, {})
    jax.tree.map(lambda x: x.delete(), state)
    checkpoints.wait()
    restored, _ = checkpoints.restore(1, _shapes(_state()), shardings)
  _assert_same(restored, _state())


def test_only_the_newest_checkpoints_are_kept(tmp_path):
  with run_checkpoints.Checkpoints(tmp_path, keep=2) as checkpoints:
    assert checkpoints.latest_step() is None
    for step in (1, 2, 10):
      checkpoints.save(step, {'x': jnp.ones(2)}, {})
    checkpoints.wait()
    assert checkpoints.latest_step() == 10
  names = {path.name for path in (tmp_path / 'checkpoints').iterdir()}
  assert names == {'2', '10'}


def test_leaving_waits_for_the_checkpoint_under_way(tmp_path):
  _save(tmp_path, _state(), step=4)
  variables, _ = checkpoint.restore_variables(tmp_path, _shapes(_variables()))
  _assert_same(variables['codebook'], _variables()['codebook'])


def test_an_unfinished_checkpoint_does_not_count_and_is_overwritten(
    run, tmp_path
):
  shutil.copytree(run, tmp_path, dirs_exist_ok=True)
  folder = tmp_path / 'checkpoints'
  shutil.copytree(folder / '3', folder / '7.orbax-checkpoint-tmp')
  _, found = checkpoint.restore_variables(tmp_path, _shapes(_variables()))
  assert 'step 3' in found
  with run_checkpoints.Checkpoints(tmp_path, keep=2) as checkpoints:
    assert checkpoints.latest_step() == 3
    checkpoints.save(7, _state(), {})
    checkpoints.wait()
    assert checkpoints.latest_step() == 7
  assert {path.name for path in folder.iterdir()} == {'3', '7'}


def test_inference_takes_averaged_parameters_where_there_are_some(
    run, tmp_path
):
  state, shapes = _state(), _shapes(_variables())
  variables, found = checkpoint.restore_variables(run, shapes)
  _assert_same(variables['params'], state.ema_params)
  _assert_same(variables['codebook'], state.codebook)
  assert found == f'averaged parameters of step 3 from {run}'

  variables, found = checkpoint.restore_variables(run, shapes, ema=False)
  _assert_same(variables, _variables())
  assert found == f'parameters of step 3 from {run}'

  _save(tmp_path, _state(averaged=False))
  variables, found = checkpoint.restore_variables(tmp_path, shapes)
  _assert_same(variables, _variables())
  assert found == f'parameters of step 3 from {tmp_path}'


def test_inference_in_bfloat16_leaves_the_codebook_alone(run):
  variables, _ = checkpoint.restore_variables(
      run, _shapes(_variables()), ema=False, dtype='bfloat16'
  )
  expected = jax.tree.map(
      lambda p: p.astype(jnp.bfloat16), _variables()['params']
  )
  _assert_same(variables['params'], expected)
  _assert_same(variables['codebook'], _variables()['codebook'])


def test_variables_are_placed_as_asked(run):
  shapes = _shapes(_variables())
  on_one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  variables, _ = checkpoint.restore_variables(run, shapes)
  assert {x.sharding for x in jax.tree.leaves(variables)} == {on_one}

  mesh = _mesh('2x4')
  whole = partitioning.replicated(mesh)
  variables, _ = checkpoint.restore_variables(run, shapes, sharding=whole)
  assert {x.sharding for x in jax.tree.leaves(variables)} == {whole}

  each = _shardings(shapes, mesh)
  variables, _ = checkpoint.restore_variables(run, shapes, sharding=each)
  assert jax.tree.map(lambda x: x.sharding, variables) == each
  _assert_same(variables['params'], _state().ema_params)


def test_variables_of_an_older_step_may_be_asked_for(tmp_path):
  with run_checkpoints.Checkpoints(tmp_path, keep=2) as checkpoints:
    for step in (9, 10):
      state = {'params': {'w': jnp.full((2,), float(step))}}
      checkpoints.save(step, state, {})
  shapes = _shapes(state)
  for step, value in ((None, 10), (9, 9), (10, 10)):
    variables, _ = checkpoint.restore_variables(tmp_path, shapes, step=step)
    np.testing.assert_array_equal(variables['params']['w'], [value, value])
  with pytest.raises(ValueError, match=r'no checkpoint of step 8.*\[9, 10\]'):
    checkpoint.restore_variables(tmp_path, shapes, step=8)


def test_a_checkpoint_of_another_model_is_told_by_name_and_shape(run):
  shapes = _shapes(_variables())
  shapes['params']['dense']['kernel'] = jax.ShapeDtypeStruct((16, 9), 'f4')
  expected = (
      r'ema_params.dense.kernel should be \(16, 9\), but it has \(16, 8\)'
  )
  with pytest.raises(ValueError, match=expected):
    checkpoint.restore_variables(run, shapes)

  shapes = _shapes(_variables())
  shapes['params']['extra'] = jax.ShapeDtypeStruct((3,), 'f4')
  expected = r'params.extra should be \(3,\), but it has none'
  with pytest.raises(ValueError, match=expected):
    checkpoint.restore_variables(run, shapes, ema=False)


@pytest.mark.parametrize('folder', ['missing', 'empty', 'without'])
def test_a_folder_without_a_checkpoint_says_so(tmp_path, folder):
  (tmp_path / 'empty' / 'checkpoints').mkdir(parents=True)
  (tmp_path / 'without').mkdir()
  with pytest.raises(ValueError, match='no complete checkpoint yet'):
    checkpoint.restore_variables(tmp_path / folder, _shapes(_variables()))


def test_restoring_for_inference_logs_no_warnings(run, caplog):
  checkpoint.restore_variables(run, _shapes(_variables()))
  assert checkpoint.has_collection(run, 'codebook')
  assert not caplog.records


def test_a_checkpoint_knows_which_collections_it_has(run, tmp_path):
  names = ('params', 'codebook', 'ema_params', 'disc_params')
  has = [checkpoint.has_collection(run, name) for name in names]
  assert has == [True, True, True, False]
  _save(tmp_path, _state(averaged=False))
  assert not checkpoint.has_collection(tmp_path, 'ema_params')


def test_a_config_comes_back_and_leaves_nothing_else(tmp_path):
  checkpoint.write_config(tmp_path, _config())
  checkpoint.write_config(tmp_path, _config(embed_dim=32))
  assert [path.name for path in tmp_path.iterdir()] == ['config.json']
  assert checkpoint.read_config(tmp_path) == _config(embed_dim=32)
  fields = json.loads((tmp_path / 'config.json').read_text())
  assert fields['model']['code_shape'] == [8, 8, 2]


def test_a_folder_of_the_wrong_kind_says_what_it_is(tmp_path):
  with pytest.raises(ValueError, match='holds no config.json'):
    checkpoint.read_config(tmp_path / 'missing')
  checkpoint.write_config(tmp_path, _config())
  assert checkpoint.read_config(tmp_path, stage=1) == _config()
  with pytest.raises(ValueError, match='RQ-VAE .* but an RQ-Transformer'):
    checkpoint.read_config(tmp_path, stage=2)
  checkpoint.write_config(tmp_path, _other_stage())
  with pytest.raises(ValueError, match='RQ-Transformer .* but an RQ-VAE'):
    checkpoint.read_config(tmp_path, stage=1)


@pytest.mark.parametrize(
    ('error', 'kind', 'words'),
    [
        (
            OSError(errno.ENOSPC, 'No space left on device'),
            files.DiskFullError,
            'The disk of .*checkpoints is full',
        ),
        (
            OSError(errno.EIO, 'worn out'),
            run_checkpoints.SaveFailedError,
            'could not be saved in .*checkpoints: OSError: .* worn out',
        ),
    ],
)
def test_what_fails_in_the_background_ends_in_one_sentence(
    error, kind, words, tmp_path, monkeypatch
):
  def fail(*_, **__):
    raise error

  with run_checkpoints.Checkpoints(tmp_path, keep=2) as checkpoints:
    checkpoints.save(1, _state(), {})
    checkpoints.wait()
    manager = checkpoints._manager
    monkeypatch.setattr(manager, '_finalize_checkpoint', fail)
    checkpoints.save(2, _state(), {})
    with pytest.raises(kind, match=words):
      checkpoints.wait()
  checkpoint.restore_variables(tmp_path, _shapes(_variables()), step=1)


def test_a_state_that_does_not_fit_is_refused_before_it_is_written(
    tmp_path, monkeypatch
):
  size = sum(x.nbytes for x in jax.tree.leaves(_state()))
  monkeypatch.setattr(files, 'free_bytes', lambda _: size // 2)
  with run_checkpoints.Checkpoints(tmp_path, keep=2) as checkpoints:
    with pytest.raises(files.DiskFullError, match='are needed. Free at least'):
      checkpoints.save(1, _state(), {})
    monkeypatch.setattr(files, 'free_bytes', lambda _: size)
    checkpoints.save(1, _state(), {})
  assert checkpoint_steps.steps(tmp_path) == [1]


@pytest.mark.parametrize('text', ['{"stage": 1', '[]', '{"stage": 7}'])
def test_a_damaged_config_is_named(text, tmp_path):
  (tmp_path / 'config.json').write_text(text)
  with pytest.raises(ValueError, match=f'^{tmp_path}/config.json is '):
    checkpoint.read_config(tmp_path)
