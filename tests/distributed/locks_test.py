"""One program at a time writes to a folder, and no crash leaves it locked."""

import errno
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from rq_jax.distributed import locks

HOLD = """
import sys
from rq_jax.distributed import locks

with locks.hold(sys.argv[1], flag='--workdir'):
  print('held', flush=True)
  sys.stdin.read()
"""


def holder(folder):
  """A process that holds a folder until its input ends."""
  process = subprocess.Popen(
      [sys.executable, '-c', HOLD, str(folder)],
      cwd=pathlib.Path(__file__).parents[2],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
  )
  assert process.stdout.readline() == 'held\n'
  return process


def hold(folder):
  with locks.hold(folder, flag='--workdir'):
    return sorted(path.name for path in folder.iterdir())


def heartbeat(folder, *, age=0.0, **fields):
  """Pretends that another machine wrote its heartbeat `age` seconds ago."""
  file = folder / '.heartbeat'
  known = {'host': 'far', 'process': 42, 'machine': 'other'}
  file.write_text(json.dumps(known | fields))
  now = file.stat().st_mtime
  os.utime(file, (now - age, now - age))


@pytest.mark.process
def test_a_held_folder_is_refused_and_names_host_and_process(tmp_path):
  process = holder(tmp_path)
  host = os.uname().nodename
  with pytest.raises(ValueError) as info:
    hold(tmp_path)
  assert str(info.value).startswith(
      f'--workdir={tmp_path} is in use: process {process.pid} on host {host}'
      ' writes to it.'
  )
  process.communicate('')
  assert hold(tmp_path) == ['.heartbeat', '.lock']
  # The heartbeat is removed; the file of the lock stays, but is not locked.
  assert [path.name for path in tmp_path.iterdir()] == ['.lock']


@pytest.mark.process
def test_a_crash_leaves_nothing_held_on_its_machine(tmp_path):
  process = holder(tmp_path)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  assert (tmp_path / '.heartbeat').exists()
  assert hold(tmp_path) == ['.heartbeat', '.lock']


def test_a_folder_is_held_once_within_a_process_too(tmp_path):
  with (
      locks.hold(tmp_path, flag='--workdir'),
      pytest.raises(ValueError, match=f'process {os.getpid()} on'),
  ):
    hold(tmp_path)
  hold(tmp_path)


def test_other_machines_are_known_by_their_heartbeat(tmp_path):
  heartbeat(tmp_path, age=locks.DEAD_AFTER_SECONDS - 5)
  with pytest.raises(ValueError, match='process 42 on host far writes to it'):
    hold(tmp_path)
  # A program that is refused does not change the heartbeat.
  assert json.loads((tmp_path / '.heartbeat').read_text())['host'] == 'far'
  heartbeat(tmp_path, age=locks.DEAD_AFTER_SECONDS + 1)
  hold(tmp_path)


def test_a_heartbeat_of_this_machine_counts_only_without_locks(
    tmp_path, monkeypatch
):
  heartbeat(tmp_path, machine=locks._machine())
  hold(tmp_path)

  def no_locks(*_):
    raise OSError(errno.EOPNOTSUPP, 'none here')

  monkeypatch.setattr(fcntl, 'flock', no_locks)
  monkeypatch.setattr(locks, '_SETTLE_SECONDS', 0)
  hold(tmp_path)
  heartbeat(tmp_path, machine=locks._machine())
  with pytest.raises(ValueError, match='process 42 on host far'):
    hold(tmp_path)


def test_of_two_that_come_at_once_without_locks_one_is_refused(
    tmp_path, monkeypatch
):
  def no_locks(*_):
    raise OSError(errno.ENOLCK, 'none here')

  def other_comes(_):
    heartbeat(tmp_path, token='theirs')

  monkeypatch.setattr(fcntl, 'flock', no_locks)
  monkeypatch.setattr(locks.time, 'sleep', other_comes)
  with pytest.raises(ValueError, match='process 42 on host far'):
    hold(tmp_path)
  # The heartbeat of the other process stays.
  assert json.loads((tmp_path / '.heartbeat').read_text())['process'] == 42


def test_a_process_that_ends_at_once_ends_its_heartbeats(tmp_path):
  with locks.hold(tmp_path, flag='--workdir'):
    locks.release_all()
    assert not (tmp_path / '.heartbeat').exists()


def test_a_heart_beats_while_a_folder_is_held(tmp_path, monkeypatch):
  beats = []
  utime = os.utime

  def beat(path, *arguments):
    utime(path, *arguments)
    beats.append(path)

  monkeypatch.setattr(locks, 'BEAT_SECONDS', 0.01)
  monkeypatch.setattr(os, 'utime', beat)
  with locks.hold(tmp_path, flag='--workdir'):
    while len(beats) < 2:
      pass
    # Deleting the heartbeat does not stop the work in the folder.
    (tmp_path / '.heartbeat').unlink()
  assert set(map(str, beats)) == {str(tmp_path / '.heartbeat')}


def test_a_damaged_heartbeat_is_no_sign_of_life(tmp_path):
  for text in ('', '{"host": ', '[1]'):
    (tmp_path / '.heartbeat').write_text(text)
    hold(tmp_path)


def test_a_folder_is_created_and_refused_if_it_cannot_be_written(tmp_path):
  assert hold(tmp_path / 'new' / 'run') == ['.heartbeat', '.lock']
  (tmp_path / 'file').touch()
  (tmp_path / 'full' / '.lock').mkdir(parents=True)  # Opening it fails.
  for name in ('file', 'file/run', 'full'):
    with pytest.raises(ValueError, match=f'--workdir=.*{name} cannot be wri'):
      hold(tmp_path / name)


def test_a_holder_goes_on_as_long_as_nobody_took_its_folder(
    tmp_path, monkeypatch
):
  monkeypatch.setattr(locks, '_SETTLE_SECONDS', 0)
  with locks.hold(tmp_path, flag='--workdir') as held:
    held.require()
    # It was suspended, and its clock went on.
    later = locks._now() + 120
    monkeypatch.setattr(locks, '_now', lambda: later)
    os.utime(tmp_path / '.heartbeat', (0, 0))
    held.require()
    assert (tmp_path / '.heartbeat').stat().st_mtime > 0
    (tmp_path / '.heartbeat').unlink()
    held.require()


def test_a_holder_that_lost_its_folder_stops_and_leaves_the_other_alone(
    tmp_path,
):
  with locks.hold(tmp_path, flag='--workdir') as held:
    heartbeat(tmp_path, age=30, token='theirs')
    before = (tmp_path / '.heartbeat').stat().st_mtime
    with pytest.raises(
        locks.LostError,
        match=f'--workdir={tmp_path} now belongs to process 42 on host far',
    ):
      held.require()
    held.beat()  # Keeps no other program alive.
    locks.release_all()
  file = tmp_path / '.heartbeat'
  assert file.stat().st_mtime == before
  assert json.loads(file.read_text())['token'] == 'theirs'


def test_after_a_pause_a_holder_waits_for_one_that_is_just_taking_over(
    tmp_path, monkeypatch
):
  with locks.hold(tmp_path, flag='--workdir') as held:
    later = locks._now() + locks.DEAD_AFTER_SECONDS
    monkeypatch.setattr(locks, '_now', lambda: later)
    # The beat of the other thread does not end the doubt.
    held.beat()
    monkeypatch.setattr(
        locks.time, 'sleep', lambda _: heartbeat(tmp_path, token='theirs')
    )
    with pytest.raises(locks.LostError):
      held.require()


@pytest.mark.parametrize('shift', [-86_400, 86_400])
def test_clocks_of_machines_may_differ(shift, tmp_path, monkeypatch):
  """Only times of the file system count."""
  real = time.time
  monkeypatch.setattr(time, 'time', lambda: real() + shift)
  heartbeat(tmp_path, age=30)
  with pytest.raises(ValueError, match='process 42 on host far'):
    hold(tmp_path)
  heartbeat(tmp_path, age=70)
  hold(tmp_path)
