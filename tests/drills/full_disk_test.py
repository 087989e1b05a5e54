"""Training on a disk that is really full for a while: a small tmpfs."""

import os
import pathlib
import subprocess
import time

import pytest

from tests import processes
from tests import tiny
from tests import tiny_flags
from tests.training import resume_test

pytestmark = [pytest.mark.drill, pytest.mark.process]

# Room for three checkpoints of 0.6 MB, and for pictures and logs.
SIZE = '8m'
PROGRAM = """
from rq_jax import __main__
__main__.program()
"""


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


def start(workdir, *flags):
  """Starts a run as users do; it saves in every second step."""
  return processes.start(
      PROGRAM,
      *('train', *tiny_flags.FLAGS, f'--workdir={workdir}'),
      *('--config.train.steps=60', '--config.train.checkpoint_steps=2'),
      *('--config.optimizer.ema_decay=0.9', '--config.train.eval_images=8'),
      *flags,
  )


def start_and_fill(disk, leave, *flags):
  process = start(disk / 'run', *flags)
  while resume_test.newest(disk / 'run') < 4 and process.poll() is None:
    time.sleep(0.01)
  return process, fill(disk, leave)


def finish(*started):
  for code, _, errors in processes.end(started):
    assert code == 0, errors
    assert 'Traceback' not in errors, errors


@pytest.mark.parametrize('leave', [0, 200_000])
def test_a_full_disk_ends_a_run_which_resumes_bit_identical(
    leave, disk, tmp_path
):
  process, filler = start_and_fill(disk, leave)
  ((code, _, errors),) = processes.end([process])
  assert code == 1
  (sentence,) = [x for x in errors.splitlines() if x.startswith('Error: ')]
  assert sentence.startswith('Error: The disk of'), errors
  left = [x.name for x in (disk / 'run/checkpoints').iterdir()]
  assert left and all(name.isdigit() for name in left)
  filler.unlink()
  finish(start(disk / 'run'), start(tmp_path / 'whole'))
  tiny.assert_trees_equal(
      tiny.saved_state(disk / 'run'), tiny.saved_state(tmp_path / 'whole')
  )


def test_a_run_may_go_on_until_there_is_room_again(disk, tmp_path):
  flags = '--config.train.on_save_error=continue', '--config.train.steps=400'
  process, filler = start_and_fill(disk, 0, *flags)
  time.sleep(3)  # For some saves to fail.
  filler.unlink()
  finish(process, start(tmp_path / 'whole', *flags))
  lines = tiny.metric_lines(disk / 'run')
  assert max(x.get('train/failed_saves', 0) for x in lines) > 0
  tiny.assert_trees_equal(
      tiny.saved_state(disk / 'run'), tiny.saved_state(tmp_path / 'whole')
  )
