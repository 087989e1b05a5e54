"""Training on a disk that is really full for a while: a small tmpfs."""

import os
import pathlib
import subprocess
import time

import pytest

from tests import tiny
from tests.training import resume_test

pytestmark = [pytest.mark.drill, pytest.mark.process]

# Room for three checkpoints of 0.6 MB, and for pictures and logs.
SIZE = '8m'


@pytest.fixture
def disk(tmp_path):
  """A folder with a small disk of its own."""
  folder = tmp_path / 'disk'
  folder.mkdir()
  mounted = subprocess.run(
      ['mount', '-t', 'tmpfs', '-o', f'size={SIZE}', 'tmpfs', folder],
      capture_output=True,
      check=False,
  )
  if mounted.returncode:
    pytest.skip('This user may not mount a disk.')
  yield folder
  subprocess.run(['umount', '-l', folder], check=False)


def fill(disk, leave):
  """Fills a disk, except for some bytes; returns the file that does so."""
  free = os.statvfs(disk)
  count = free.f_bavail * free.f_frsize - leave
  file = pathlib.Path(disk) / 'filler'
  file.write_bytes(b'x' * max(0, count))
  return file


def experiment(**train):
  steps = dict(steps=60, checkpoint_steps=2, eval_steps=1000)
  return tiny.changed(tiny.run_config(1), train=steps | train)


def start_and_fill(config, disk, leave):
  process = resume_test.start(config, disk / 'run')
  while resume_test.newest(disk / 'run') < 4 and process.poll() is None:
    pass
  return process, fill(disk, leave)


@pytest.mark.parametrize('leave', [0, 200_000])
def test_a_full_disk_ends_a_run_which_resumes_bit_identical(
    leave, disk, tmp_path
):
  process, filler = start_and_fill(experiment(), disk, leave)
  _, errors = process.communicate(timeout=120)
  assert process.returncode == 1
  assert 'The disk of' in errors.splitlines()[-1]
  left = [x.name for x in (disk / 'run/checkpoints').iterdir()]
  assert left and all(name.isdigit() for name in left)
  filler.unlink()
  for folder in (disk / 'run', tmp_path / 'whole'):
    process = resume_test.start(experiment(), folder)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
  tiny.assert_trees_equal(
      tiny.saved_state(disk / 'run'), tiny.saved_state(tmp_path / 'whole')
  )


def test_a_run_may_go_on_until_there_is_room_again(disk, tmp_path):
  config = experiment(on_save_error='continue', steps=400)
  process, filler = start_and_fill(config, disk, 0)
  time.sleep(3)  # For some saves to fail.
  filler.unlink()
  _, errors = process.communicate(timeout=300)
  assert process.returncode == 0, errors
  assert 'Traceback' not in errors, errors
  lines = tiny.metric_lines(disk / 'run')
  assert max(x.get('train/failed_saves', 0) for x in lines) > 0
  whole = resume_test.start(config, tmp_path / 'whole')
  whole.communicate()
  tiny.assert_trees_equal(
      tiny.saved_state(disk / 'run'), tiny.saved_state(tmp_path / 'whole')
  )
