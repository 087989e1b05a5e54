"""A checkpoint that cannot be saved ends a run, or the run goes on."""

import errno
import json
import re
import shutil
import time

from orbax.checkpoint._src.path import atomicity
import pytest

from rq_jax import files
from rq_jax import hashes
from rq_jax.checkpoints import failures
from rq_jax.training import run
from rq_jax.training import workdir as workdir_lib
from tests import tiny
from tests.training import toy

CONTINUE = dict(on_save_error='continue', checkpoint_steps=1, eval_steps=1000)


def fail_at(monkeypatch, broken, error):
  """Lets saves of some steps fail, in the background."""
  create = atomicity.AtomicRenameTemporaryPath.create

  async def fail(self):
    if self.get_final().name in map(str, broken):
      raise error
    return await create(self)

  monkeypatch.setattr(atomicity.AtomicRenameTemporaryPath, 'create', fail)


def names(folder):
  return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ('error', 'words'),
    [
        (OSError(errno.ENOSPC, 'No space left'), 'The disk of .* is full'),
        (
            OSError(errno.EDQUOT, 'Disk quota exceeded'),
            'The disk of .* is full',
        ),
        (OSError(errno.EIO, 'worn out'), 'OSError: .* worn out'),
    ],
)
def test_a_save_that_fails_in_the_background_is_told_and_the_run_goes_on(
    error, words, tmp_path, monkeypatch, capsys
):
  folder, _ = toy.finished()
  fail_at(monkeypatch, [2, 4], error)
  toy.run(tmp_path, config=toy.experiment(**CONTINUE))
  told = [x for x in capsys.readouterr().out.splitlines() if 'Warning' in x]
  assert len(told) == 2
  for line, step in zip(told, (2, 4)):
    assert line.startswith(f'Warning: the checkpoint of step {step} was not sa')
    assert 'Training continues, because --config.train.on_save_error' in line
    assert re.search(words, line)
  # The steps that failed left nothing, and those before were kept.
  assert names(tmp_path / 'checkpoints') == ['3', '5']
  tiny.assert_trees_equal(
      tiny.saved_state(tmp_path, 5), tiny.saved_state(folder, 5)
  )
  counts = [
      (x['step'], x['train/failed_saves'])
      for x in tiny.metric_lines(tmp_path)
      if 'train/failed_saves' in x
  ]
  assert counts == [(3, 1), (5, 2)]


def test_by_default_it_ends_the_run_and_leaves_nothing(tmp_path, monkeypatch):
  fail_at(monkeypatch, [2], OSError(errno.EIO, 'worn out'))
  with pytest.raises(failures.SaveFailedError, match='worn out'):
    toy.run(tmp_path, config=toy.experiment(checkpoint_steps=1))
  assert names(tmp_path / 'checkpoints') == ['1']


def test_the_last_checkpoint_must_be_saved(tmp_path, monkeypatch):
  fail_at(monkeypatch, [5], OSError(errno.EIO, 'worn out'))
  with pytest.raises(failures.SaveFailedError, match='worn out'):
    toy.run(tmp_path, config=toy.experiment(**CONTINUE))
  assert names(tmp_path / 'checkpoints') == ['3', '4']


def test_a_disk_without_room_is_known_before_anything_is_written(
    tmp_path, monkeypatch, capsys
):
  """The disk is full at steps 2 to 4."""
  calls = []

  def free(_):
    calls.append(1)
    return 0 if 2 <= len(calls) // 2 + 1 <= 4 else 10**9

  real = files.require_space

  def require(path, needs):
    monkeypatch.setattr(files, 'free_bytes', free)
    calls.append(1)
    real(path, needs)

  monkeypatch.setattr(files, 'require_space', require)
  toy.run(tmp_path, config=toy.experiment(**CONTINUE))
  told = [x for x in capsys.readouterr().out.splitlines() if 'Warning' in x]
  assert all('0 bytes are free, and' in x and 'needed' in x for x in told)
  assert len(told) >= 2
  assert '5' in names(tmp_path / 'checkpoints')
  assert not [x for x in names(tmp_path / 'checkpoints') if not x.isdigit()]


def test_a_folder_that_cannot_be_written_is_known_at_once(
    tmp_path, monkeypatch
):
  def refuse(folder):
    assert folder.name == 'checkpoints'
    raise OSError(errno.EROFS, 'Read-only file system')

  monkeypatch.setattr(failures, 'require_writable', refuse)
  with pytest.raises(failures.SaveFailedError, match='Read-only file system'):
    toy.run(tmp_path, config=toy.experiment(checkpoint_steps=1))
  assert names(tmp_path / 'checkpoints') == []


def test_a_step_that_was_damaged_is_saved_again(tmp_path, capsys):
  """Only reading the arrays shows this damage."""
  folder, results = toy.finished()
  shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
  file = tmp_path / 'checkpoints/5/manifest/metadata'
  manifest = hashes.unsealed(json.loads(file.read_text()), file)
  manifest['arrays']['params.w'][-1] = '0' * 16
  file.write_text(json.dumps(hashes.seal(manifest)))
  assert toy.run(tmp_path, config=toy.experiment(eval_steps=3)) == results
  assert 'the array params.w has changed' in capsys.readouterr().out
  assert names(tmp_path / 'damaged_checkpoints') == ['5']
  assert names(tmp_path / 'checkpoints') == ['4', '5']
  tiny.assert_trees_equal(
      tiny.saved_state(tmp_path, 5), tiny.saved_state(folder, 5)
  )


def vanishing(monkeypatch, workdir, come_back=None):
  """Removes the folder of a run after its first step, or moves it away."""
  real, taken = run.loop.stepping.Stepper.take, []
  away = workdir.with_name('away')

  def take(self, step, state, batch):
    if step == 2:
      while come_back is None and not (workdir / 'checkpoints/1').exists():
        time.sleep(0.01)  # It is saved in the background.
      workdir.rename(away)
    if step == come_back:
      away.rename(workdir)
    taken.append(step)
    return real(self, step, state, batch)

  monkeypatch.setattr(run.loop.stepping.Stepper, 'take', take)
  return taken, away


@pytest.mark.slow
@pytest.mark.parametrize(('policy', 'last'), [('stop', 2), ('continue', 6)])
def test_a_workdir_that_vanishes_ends_the_run_and_does_not_come_back(
    policy, last, tmp_path, monkeypatch, capsys
):
  taken, away = vanishing(monkeypatch, tmp_path / 'run')
  config = tiny.changed(
      tiny.run_config(1),
      train=dict(
          steps=6, checkpoint_steps=1, eval_steps=2, on_save_error=policy
      ),
  )
  with pytest.raises(
      workdir_lib.VanishedError, match='run no longer holds config.json'
  ):
    run.train(config, tmp_path / 'run')
  assert taken == list(range(1, last + 1))
  # Those who continue are not asked to run the command again.
  out = capsys.readouterr().out
  assert out.count('Put it back. Training continues') == last - 2
  left = [str(path) for path in tmp_path.rglob('*')]
  assert not [path for path in left if '/run' in path], left
  assert names(away / 'checkpoints') == ['1']


@pytest.mark.slow
def test_a_workdir_may_come_back(tmp_path, monkeypatch, capsys):
  """For example, a network disk that was away for a while."""
  taken, _ = vanishing(monkeypatch, tmp_path / 'run', come_back=5)
  config = tiny.changed(
      tiny.run_config(1), train=dict(on_save_error='continue')
  )
  run.train(config, tmp_path / 'run')
  assert taken == list(range(1, 13))
  out = capsys.readouterr().out
  assert out.count('no longer holds config.json') == 2
  tiny.assert_trees_equal(
      tiny.saved_state(tmp_path / 'run'), tiny.saved_state(tiny.finished_run(1))
  )
  assert not [x for x in names(tmp_path / 'run/checkpoints') if 'tmp' in x]
