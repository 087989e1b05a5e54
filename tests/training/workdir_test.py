"""A run's folder is created late, locked early, and checked by its config."""

import jax
import pytest

from rq_jax.checkpoints import stored
from rq_jax.distributed import locks
from rq_jax.training import run
from rq_jax.training import workdir
from tests import tiny


def names(folder):
  return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_prepared_once_and_checked_then(tmp_path):
  config = tiny.stage1_config()
  path = tmp_path / 'a' / 'run'
  with workdir.Workdir(path) as held:
    assert not path.exists()
    held.prepare(config)
    assert names(path) == ['.heartbeat', '.lock', 'config.json']
  config = tiny.changed(config, train=dict(steps=9))
  with workdir.Workdir(path) as held:
    held.prepare(config)
  assert stored.read_config(path).train.steps == 9
  assert names(path) == ['.lock', 'config.json']
  config = tiny.changed(config, model=dict(decay=0.5))
  with (
      pytest.raises(ValueError, match='config.model.decay'),
      workdir.Workdir(path) as held,
  ):
    held.prepare(config)


def test_a_second_training_is_refused_before_anything_else(tmp_path):
  """It changes nothing, and its missing tokenizer is not looked for."""
  stored.write_config(tmp_path, tiny.stage1_config())
  config = tiny.stage2_config(tokenizer=str(tmp_path / 'none'))
  with (
      locks.hold(tmp_path, flag='--workdir'),
      pytest.raises(ValueError, match='is in use: process'),
  ):
    run.train(config, tmp_path)
  assert stored.read_config(tmp_path, stage=1) == tiny.stage1_config()


def test_a_folder_that_appears_meanwhile_is_held_too(tmp_path):
  path = tmp_path / 'run'
  with workdir.Workdir(path) as late:
    with workdir.Workdir(path) as first:
      first.prepare(tiny.stage1_config())
      with pytest.raises(ValueError, match='is in use: process'):
        late.prepare(tiny.stage1_config())
    late.prepare(tiny.stage1_config())


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
  (tmp_path / 'file').write_text('')
  for path in ('file', 'file/run'):
    with (
        pytest.raises(ValueError, match='--workdir=.* cannot be written'),
        workdir.Workdir(tmp_path / path) as held,
    ):
      held.prepare(tiny.stage1_config())


def test_only_the_first_process_holds(tmp_path, monkeypatch):
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  with workdir.Workdir(tmp_path / 'run') as held:
    held.prepare(tiny.stage1_config())
  assert not (tmp_path / 'run').exists()
