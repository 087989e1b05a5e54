"""A manifest names what has changed since a checkpoint was saved."""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax import config as config_lib
from rq_jax import hashes
from rq_jax.checkpoints import class_names
from rq_jax.checkpoints import digests
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import manifests
from rq_jax.checkpoints import reading
from rq_jax.checkpoints import runs
from rq_jax.checkpoints import steps
from rq_jax.checkpoints import stored
from tests import folders
from tests import states

KERNEL = 'params.dense.kernel'


@pytest.fixture(autouse=True)
def notes_anew():
  steps.note.cache_clear()


@pytest.fixture(scope='module')
def saved():
  """A run with steps 3 and 4 of different states; tests only read it."""
  folder = folders.new() / 'run'
  folder.mkdir()
  stored.write_config(folder, states.config())
  with runs.Checkpoints(folder, keep=2) as checkpoints:
    for step in (3, 4):
      checkpoints.save(step, states.state(seed=step), {'listing': ['a', 1]})
  return folder


@pytest.fixture
def run(saved, tmp_path):
  return shutil.copytree(saved, tmp_path / 'run')


@pytest.fixture
def copy(tmp_path):
  folder = tmp_path / 'copy'
  inference_copy.export(
      folder, states.config(), states.variables(), classes=('cat', 'dog')
  )
  return folder


def newest(folder):
  """Step of the checkpoint that training resumes from, and its state."""
  shapes = states.shapes(states.state())
  here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  shardings = jax.tree.map(lambda _: here, shapes)
  with runs.Checkpoints(folder, keep=2) as checkpoints:
    state, meta = checkpoints.restore_newest(shapes, shardings)
    assert meta == {'listing': ['a', 1]}
    return checkpoints.latest_step(), state


def variables(folder, **options):
  shapes = states.shapes(states.variables())
  return stored.restore_variables(folder, shapes, **options)


def edit(file, **values):
  raw = json.loads(file.read_text())
  file.write_text(json.dumps(raw | values))


def older(folder, step):
  """Makes a checkpoint what older versions wrote."""
  shutil.rmtree(folder / 'checkpoints' / f'{step}' / 'manifest')
  file = folder / 'checkpoints' / f'{step}' / 'meta' / 'metadata'
  raw = json.loads(file.read_text())
  del raw['manifest']
  file.write_text(json.dumps(raw))


def exchange_states(folder):
  a, b, kept = (folder / 'checkpoints' / f for f in ('3/state', '4/state', 'k'))
  a.rename(kept)
  b.rename(a)
  kept.rename(b)


def test_a_manifest_holds_shapes_dtypes_and_hashes_of_all_arrays(saved):
  manifest = steps.described(saved, 4).manifest
  state = states.state(seed=4)
  assert manifest.arrays.keys() >= {KERNEL, 'rng', 'ema_params.dense.bias'}
  kernel = digests.text(digests.of_arrays(state.params['dense']['kernel']))
  assert manifest.arrays[KERNEL] == ((16, 8), 'float32', kernel)
  key = digests.text(digests.of_arrays(jax.random.key_data(state.rng)))
  assert manifest.arrays['rng'] == ((2,), 'uint32', key)
  assert len(manifest.arrays) == len(jax.tree.leaves(state))
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
  assert manifests.num_bytes(manifest) == size
  assert manifest.step == 4 and manifest.rq_jax == '0.1.0'


def test_the_arrays_of_another_step_are_not_restored(run, capsys):
  exchange_states(run)
  for restore in (lambda: newest(run), lambda: variables(run)):
    with pytest.raises(
        ValueError, match=r'4: the array \S+ has changed .*, and \d m'
    ):
      restore()
  found, _ = variables(run, ema=False, verify=False)
  states.assert_same(found['params'], states.state(seed=3).params)
  shutil.rmtree(run / 'checkpoints' / '3' / 'state')
  shutil.copytree(
      run / 'checkpoints' / '4' / 'state', run / 'checkpoints' / '3' / 'state'
  )
  step, state = newest(run)
  assert step == 3
  states.assert_same(state, states.state(seed=3))
  said = capsys.readouterr().out
  assert 'Skipping checkpoint 4 of' in said
  assert 'has changed since it was saved, and 5 more. Using step 3' in said


def test_a_single_value_that_has_changed_is_named(copy):
  """As large as a codec can hide: the array is written again."""
  changed = states.variables()
  kernel = changed['params']['dense']['kernel']
  changed = {
      **changed,
      'params': {
          'dense': {
              **changed['params']['dense'],
              'kernel': kernel.at[3, 5].set(jnp.nextafter(kernel[3, 5], 9)),
          }
      },
  }
  other = copy.with_name('other')
  inference_copy.export(other, states.config(), changed)
  state = pathlib.Path('checkpoints', '0', 'state')
  shutil.rmtree(copy / state)
  shutil.copytree(other / state, copy / state)
  with pytest.raises(ValueError) as info:
    variables(copy)
  assert f'0: the array {KERNEL} has changed since it was saved' in str(
      info.value
  )
  assert '(verify=False restores it as it is)' in str(info.value)
  assert reading.verify(copy, 0) == [f'the array {KERNEL} has changed']
  assert reading.verify(other, 0) == []


def test_only_restored_arrays_are_compared_before_a_cast(copy):
  """Other dtypes are hashed as they were saved."""
  half = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, jnp.bfloat16),
      {'params': states.variables()['params']},
  )
  found, _ = stored.restore_variables(copy, half)
  kernel = found['params']['dense']['kernel']
  assert kernel.dtype == jnp.bfloat16
  expected = states.variables()['params']['dense']['kernel']
  np.testing.assert_array_equal(kernel, expected.astype(jnp.bfloat16))


DAMAGES = [
    ('manifest/metadata', '', 'cannot be read as JSON'),
    ('manifest/metadata', '{}', 'its manifest is damaged'),
    ('manifest/metadata', None, 'its manifest is missing'),
    ('meta/metadata', '{"manifest": 1, "listing": ["b", 1]}', 'its meta has'),
    ('meta/metadata', '{"listing": ["a", 1]}', 'its meta has changed'),
]


@pytest.mark.parametrize(('name', 'text', 'reason'), DAMAGES)
def test_a_damaged_manifest_or_meta_is_damage(name, text, reason, run, capsys):
  file = run / 'checkpoints' / '4' / name
  file.unlink() if text is None else file.write_text(text)
  assert reason in reading.verify(run, 4)[0]
  assert newest(run)[0] == 3
  assert reason in capsys.readouterr().out


def test_a_manifest_of_a_newer_version_says_so(run):
  meta = {'listing': ['a', 1], 'manifest': 2}
  values = json.loads(
      (run / 'checkpoints' / '4' / 'manifest' / 'metadata').read_text()
  )
  del values['hash']
  values |= {'meta': hashes.of_value(meta), 'rq_jax': '7.0'}
  values = hashes.seal(values)
  step = run / 'checkpoints' / '4'
  (step / 'manifest' / 'metadata').write_text(json.dumps(values))
  with pytest.raises(ValueError, match=r'a newer version .* \(7.0\)'):
    manifests.read(step, meta)


def test_a_step_under_another_number_is_damage(run):
  (run / 'checkpoints' / '4').rename(run / 'checkpoints' / '9')
  assert reading.verify(run, 9) == ['it is the checkpoint of step 4']
  assert newest(run)[0] == 3


def test_a_list_of_arrays_that_lacks_one_is_damage(run):
  """Otherwise, the model would be restored without its averages."""
  file = run / 'checkpoints' / '4' / 'state' / '_METADATA'
  raw = json.loads(file.read_text())
  del raw['tree_metadata']["('ema_params', 'dense', 'bias')"]
  file.write_text(json.dumps(raw))
  assert 'the array ema_params.dense.bias is missing' in steps.problem(run, 4)
  assert stored.has_collection(run, 'ema_params')
  assert variables(run)[1] == f'averaged parameters of step 3 from {run}'


def test_older_checkpoints_restore_as_before(run, copy, capsys):
  older(run, 4)
  older(copy, 0)
  step, state = newest(run)
  assert step == 4 and reading.verify(run, 4) == []
  states.assert_same(state, states.state(seed=4))
  states.assert_same(variables(copy)[0], states.variables())
  assert not capsys.readouterr().out


def test_fields_of_config_json_that_have_changed_are_named(run, copy):
  norm_groups = states.config(dropout=0.25)
  stored.write_config(run, norm_groups)
  stored.write_config(copy, norm_groups)
  for folder in (run, copy):
    with pytest.raises(ValueError, match=r'config.model.dropout \(was 0.0, is'):
      variables(folder)
    variables(folder, verify=False)
    (folder / 'config.json').unlink()
    with pytest.raises(ValueError, match='config.json is missing'):
      variables(folder)


def test_resumable_fields_count_only_in_copies(run, copy):
  raw = config_lib.to_dict(states.config())
  raw['train']['log_steps'] = 7
  for folder in (run, copy):
    stored.write_config(folder, config_lib.parse(raw))
  assert newest(run)[0] == 4 and 'step 4' in variables(run)[1]
  with pytest.raises(ValueError, match=r'train.log_steps \(was 100, is 7\)'):
    variables(copy)


def test_a_config_json_in_other_words_is_the_same(run, copy):
  for folder in (run, copy):
    file = folder / 'config.json'
    raw = json.loads(file.read_text())
    file.write_text(json.dumps(raw, sort_keys=True))
    variables(folder)


def test_files_beside_it_that_change_or_disappear_are_named(copy):
  class_names.write(copy, ('dog', 'cat'))
  with pytest.raises(ValueError, match='0: classes.json has changed'):
    variables(copy)
  assert reading.verify(copy, 0)[0].startswith('classes.json has changed')
  (copy / 'classes.json').unlink()
  with pytest.raises(ValueError, match='0: classes.json is missing'):
    variables(copy)
  variables(copy, verify=False)


def test_a_run_knows_its_own_tokenizer(tmp_path):
  own = tmp_path / 'tokenizer'
  inference_copy.export(own, states.config(), states.variables(seed=1))
  states.save(tmp_path, states.state())
  variables(tmp_path)
  inference_copy.export(own, states.config(), states.variables(seed=2))
  with pytest.raises(ValueError, match='3: tokenizer has changed'):
    variables(tmp_path)
  shutil.rmtree(own)  # A sampler may get another copy.
  variables(tmp_path)


def test_arrays_that_do_not_fit_together_are_verified_in_parts(
    run, monkeypatch
):
  read = []
  original = reading._read_some

  def count(path, step, listed, names):
    read.append(names)
    return original(path, step, listed, names)

  monkeypatch.setattr(reading, '_read_some', count)
  monkeypatch.setattr(reading, '_READ_AT_ONCE', 600)
  assert reading.verify(run, 4) == []
  assert len(read) > 2
  assert set.union(*read) == steps.described(run, 4).manifest.arrays.keys()
