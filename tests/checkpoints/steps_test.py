"""The newest whole checkpoint is used; others are reported with a reason."""

import shutil

import jax
import numpy as np
import pytest

from rq_jax.checkpoints import runs
from rq_jax.checkpoints import steps
from rq_jax.checkpoints import stored
from rq_jax.distributed import processes


def state(step):
  return {'params': {'w': np.full((4,), step, np.float32)}}


SHAPES = {'params': {'w': jax.ShapeDtypeStruct((4,), np.float32)}}
SHARDINGS = jax.tree.map(
    lambda _: jax.sharding.SingleDeviceSharding(jax.devices()[0]), SHAPES
)


@pytest.fixture(autouse=True)
def notes_anew():
  """Forgets the notes that this process has printed."""
  steps.note.cache_clear()


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A run with checkpoints of steps 4 and 6; tests only read it."""
  folder = tmp_path_factory.mktemp('run')
  save(folder, 4, 6)
  return folder


@pytest.fixture
def run(finished, tmp_path):
  """A copy of the run, which tests may damage."""
  return shutil.copytree(finished, tmp_path / 'run')


def save(folder, *steps):
  with runs.Checkpoints(folder, keep=9) as checkpoints:
    for step in steps:
      checkpoints.save(step, state(step), {'step': step})


def newest_for_inference(folder):
  variables, found = stored.restore_variables(folder, SHAPES)
  return variables['params']['w'][0], found


def newest_for_training(folder):
  with runs.Checkpoints(folder, keep=9) as checkpoints:
    restored, meta = checkpoints.restore_newest(SHAPES, SHARDINGS)
    assert checkpoints.latest_step() == meta['step']
  assert restored['params']['w'][0] == meta['step']
  return meta['step']


def step_99(folder, *, without=(), cut=(), empty=False):
  """Adds a checkpoint 99 that lacks files, or has only halves of files."""
  new = folder / 'checkpoints' / '99'
  if empty:
    new.mkdir()
    return
  shutil.copytree(folder / 'checkpoints' / '6', new)
  for pattern in without:
    for path in sorted(new.glob(pattern)):
      shutil.rmtree(path) if path.is_dir() else path.unlink()
  for pattern in cut:
    for path in new.glob(pattern):
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = [
    (dict(empty=True), 'it has no state'),
    (dict(without=['meta']), 'it has no meta'),
    (dict(without=['meta/metadata']), 'metadata'),
    (dict(cut=['meta/metadata']), 'cannot be read as JSON'),
    (dict(without=['state']), 'it has no state'),
    (dict(without=['state/_METADATA']), '_METADATA'),
    (dict(cut=['state/_METADATA']), 'cannot be read as JSON'),
    (dict(without=['state/manifest.ocdbt']), '99'),
    (dict(without=['state/d', 'state/ocdbt.process_0']), '99'),
    (dict(cut=['state/ocdbt.process_0/d/*', 'state/d/*']), '99'),
]


@pytest.mark.parametrize(('damage', 'reason'), DAMAGES)
def test_a_damaged_newest_step_is_passed_over_and_named(
    damage, reason, run, capsys
):
  step_99(run, **damage)
  value, found = newest_for_inference(run)
  assert (value, found) == (6, f'parameters of step 6 from {run}')
  said = capsys.readouterr().out
  assert f'Skipping checkpoint 99 of {run}: ' in said
  assert reason in said and 'Using step 6 instead.' in said
  # Reading a run does not change it.
  assert (run / 'checkpoints' / '99').exists()

  steps.note.cache_clear()
  assert newest_for_training(run) == 6
  said = capsys.readouterr().out
  assert 'Skipping checkpoint 99' in said
  kept = run / 'damaged_checkpoints' / '99'
  assert f'Checkpoint 99 was moved to {kept}.' in said
  assert kept.exists()


def test_training_saves_after_a_step_that_was_passed_over(run):
  step_99(run, empty=True)
  save(run, 7)
  assert steps.finished(run) == [4, 6, 7]
  # Another one with the same number is kept beside it.
  step_99(run, empty=True)
  save(run, 8)
  kept = [p.name for p in (run / 'damaged_checkpoints').iterdir()]
  assert sorted(kept) == ['99', '99-1']
  assert newest_for_training(run) == 8


def test_an_older_step_may_be_damaged_without_being_named(run, capsys):
  shutil.rmtree(run / 'checkpoints' / '4' / 'meta')
  assert newest_for_training(run) == 6
  assert newest_for_inference(run)[0] == 6
  assert capsys.readouterr().out == ''


def test_if_no_step_is_whole_all_are_named_and_nothing_is_moved(run):
  for step in (4, 6):
    shutil.rmtree(run / 'checkpoints' / str(step) / 'meta')
  for newest in (newest_for_training, newest_for_inference):
    with pytest.raises(ValueError) as info:
      newest(run)
    assert str(info.value).startswith(
        f'No checkpoint in {run}/checkpoints can be read. 6: it has no meta; 4:'
        ' it has no meta.'
    )
  assert steps.finished(run) == [4, 6]


def test_a_damaged_step_that_is_asked_for_is_an_error(run):
  step_99(run, cut=['state/ocdbt.process_0/d/*', 'state/d/*'])
  message = r'Checkpoint 99 .* The folder has \[4, 6, 99\]'
  with pytest.raises(ValueError, match=message):
    stored.restore_variables(run, SHAPES, step=99)
  assert steps.find(run, 4) == 4
  with pytest.raises(ValueError, match='no checkpoint of step 5; it has'):
    steps.find(run, 5)


def test_a_model_that_does_not_fit_is_no_damage(run):
  """Older checkpoints would not fit either, and none may be moved."""
  shapes = {'params': {'w': jax.ShapeDtypeStruct((5,), np.float32)}}
  with pytest.raises(ValueError, match='is of another model: params.w'):
    stored.restore_variables(run, shapes)
  with (
      pytest.raises(ValueError, match='No checkpoint in'),
      runs.Checkpoints(run, keep=9) as checkpoints,
  ):
    checkpoints.restore_newest(shapes, SHARDINGS)
  assert steps.finished(run) == [4, 6]


def test_what_is_not_damage_ends_the_search(run, monkeypatch):
  """If memory runs out, the newest step stays in its place."""

  def no_memory(*_, **__):
    raise MemoryError

  monkeypatch.setattr(runs.Checkpoints, 'restore', no_memory)
  with pytest.raises(MemoryError):
    newest_for_training(run)
  assert steps.finished(run) == [4, 6]


def test_a_step_that_another_process_cannot_read_is_passed_over(
    run, monkeypatch, capsys
):
  reasons = [None, 'process 1 of 2 cannot read it', *[None] * 9]
  monkeypatch.setattr(
      processes, 'first_problem', lambda reason: reason or reasons.pop(0)
  )
  with runs.Checkpoints(run, keep=9) as checkpoints:
    _, meta = checkpoints.restore_newest(SHAPES, SHARDINGS)
  assert meta == {'step': 4}
  said = capsys.readouterr().out
  assert 'Skipping checkpoint 6' in said and 'process 1 of 2 cannot' in said


def test_a_run_without_checkpoints_starts_anew(tmp_path):
  with runs.Checkpoints(tmp_path, keep=9) as checkpoints:
    assert checkpoints.latest_step() is None
    assert checkpoints.restore_newest(SHAPES, SHARDINGS) is None


@pytest.mark.parametrize('name', ['meta/metadata', 'state/_METADATA'])
def test_json_of_another_kind_is_damage_too(name, run):
  (run / 'checkpoints' / '6' / name).write_text('[]')
  assert f'{name} is damaged' in steps.problem(run, 6)
  assert newest_for_training(run) == 4


@pytest.mark.parametrize('word', ['PERMISSION_DENIED', 'RESOURCE_EXHAUSTED'])
def test_what_may_pass_is_no_damage(word, run, monkeypatch):
  def refused(*_, **__):
    raise ValueError(f'{word}: Error opening "params.w"')

  monkeypatch.setattr(runs.Checkpoints, 'restore', refused)
  monkeypatch.setattr(stored, '_restore', refused)
  for newest in (newest_for_training, newest_for_inference):
    with pytest.raises(ValueError, match=f'^{word}'):
      newest(run)
  assert steps.finished(run) == [4, 6]


def test_processes_restore_the_same_step_for_inference_too(run, monkeypatch):
  def damaged(*_, **__):
    raise ValueError('DATA_LOSS')

  monkeypatch.setattr(stored, '_restore', damaged)
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  with pytest.raises(ValueError, match='6 of .* cannot be read: DATA_LOSS'):
    newest_for_inference(run)


def test_reasons_are_one_line_of_a_bearable_length():
  assert steps.shown(ValueError('a\n  b.')) == 'a b'
  assert steps.shown(KeyError('x')) == "KeyError: 'x'"
  assert len(steps.shown(ValueError('x' * 5000))) < 210
