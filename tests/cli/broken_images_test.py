"""Training on broken images, with and without worker processes."""

import os
import pathlib
import signal
import subprocess
import sys
import time

from PIL import Image
import pytest
from sklearn import datasets

from tests import tiny
from tests import tiny_flags
from tests.training import toy

pytestmark = pytest.mark.process

ENDLESS = (
    '--config.data.workers=2',
    '--config.data.on_error=skip',
    '--config.train.steps=100000',
)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
  """Crops of a photograph, one of which lacks its second half."""
  folder = tmp_path_factory.mktemp('images')
  photo = Image.fromarray(datasets.load_sample_images().images[0])
  for i in range(20):
    photo.crop((8 * i, i, 8 * i + 64, i + 64)).save(folder / f'{i:02d}.jpg')
  file = folder / '07.jpg'
  file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
  return folder


def start(workdir, images, *flags, group=False):
  return subprocess.Popen(
      [
          *(sys.executable, '-m', 'rq_jax', 'train', f'--workdir={workdir}'),
          *(*tiny_flags.FLAGS, '--config.data.source=image_folder'),
          *(f'--config.data.path={images}', *flags),
      ],
      stderr=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      start_new_session=group,
  )


def children(process):
  """Identifiers of the processes that a process has started."""
  found = []
  for task in pathlib.Path(f'/proc/{process.pid}/task').iterdir():
    found += map(int, (task / 'children').read_text().split())
  return found


def shared_memory_of(pids):
  """Names of the shared memory and semaphores that processes have open."""
  names = set()
  for pid in pids:
    maps = pathlib.Path(f'/proc/{pid}/maps').read_text().splitlines()
    names |= {line.split()[5] for line in maps if '/dev/shm/' in line}
  return names


def wait_until_gone(pids, names):
  """Waits for the end of processes and for the removal of shared memory."""
  until = time.monotonic() + 30
  while time.monotonic() < until:
    alive = [pid for pid in pids if os.path.exists(f'/proc/{pid}')]
    left = [name for name in names if os.path.exists(name)]
    if not alive and not left:
      return
    time.sleep(0.1)
  raise AssertionError(f'left: processes {alive}, files {left}')


def messages(error):
  """Lines on the standard error, without progress bars."""
  lines = error.replace('\r', '\n').splitlines()
  return [line for line in map(str.strip, lines) if line and '/s' not in line]


@pytest.mark.parametrize('workers', [0, 2])
def test_a_broken_image_ends_the_run_with_one_sentence(
    tmp_path, images, workers
):
  process = start(
      tmp_path,
      images,
      f'--config.data.workers={workers}',
      '--config.train.steps=40',
  )
  _, error = process.communicate(timeout=120)
  assert process.returncode == 1
  (sentence,) = messages(error)
  assert sentence.startswith(
      f'Error: {images}/07.jpg cannot be read as an imag'
  )
  assert 'set --config.data.on_error=skip' in sentence


def test_workers_skip_a_broken_image_and_name_it_once(tmp_path, images):
  process = start(
      tmp_path,
      images,
      *('--config.data.workers=2', '--config.data.on_error=skip'),
      '--config.train.steps=6',
  )
  _, error = process.communicate(timeout=120)
  assert process.returncode == 0, error
  (sentence,) = messages(error)
  assert f'Skipped: {images}/07.jpg cannot be read as an image' in sentence
  lines = toy.train_lines(tmp_path)
  assert [line['data/skipped'] for line in lines][2:] == [1] * 4  # 16 an epoch.


# A terminal sends Ctrl-C to all processes, and so does Slurm with SIGTERM.
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_worker_and_no_shared_memory(
    tmp_path, images, number
):
  process = start(tmp_path, images, *ENDLESS, group=True)
  pids, names = running(process, tmp_path)
  os.killpg(process.pid, number)
  _, error = process.communicate(timeout=120)
  assert process.returncode == 75
  assert 'Interrupted: saved at step' in messages(error)[-1]
  assert 'Traceback' not in error and 'resource_tracker' not in error
  wait_until_gone(pids, names)


def running(process, workdir):
  """Waits for steps; returns the worker processes and their shared memory."""
  while process.poll() is None and (
      not (workdir / 'metrics.jsonl').exists()
      or len(tiny.metric_lines(workdir)) < 3
  ):
    time.sleep(0.05)
  pids = children(process)
  names = shared_memory_of([process.pid, *pids])
  assert len(pids) >= 2 and names
  return pids, names


def test_a_killed_run_leaves_no_worker_and_no_shared_memory(tmp_path, images):
  process = start(tmp_path, images, *ENDLESS)
  pids, names = running(process, tmp_path)
  process.kill()
  process.communicate(timeout=120)
  wait_until_gone(pids, names)


def test_a_worker_that_dies_ends_the_run_with_one_sentence(tmp_path, images):
  process = start(tmp_path, images, *ENDLESS)
  pids, names = running(process, tmp_path)
  for pid in pids:
    if b'spawn_main' in pathlib.Path(f'/proc/{pid}/cmdline').read_bytes():
      os.kill(pid, signal.SIGKILL)
      break
  _, error = process.communicate(timeout=120)
  assert process.returncode == 1
  assert messages(error)[-1].startswith(
      'Error: A process that loads examples ended unexpectedly, with exit code'
      ' -9.'
  )
  assert 'Traceback' not in error
  wait_until_gone(pids, names)


def test_a_signal_while_the_model_compiles_leaves_nothing(tmp_path, images):
  process = start(tmp_path, images, *ENDLESS, group=True)
  while 'training step' not in process.stdout.readline():
    assert process.poll() is None
  pids = children(process)
  names = shared_memory_of([process.pid, *pids])
  os.killpg(process.pid, signal.SIGINT)
  _, error = process.communicate(timeout=120)
  assert process.returncode == 75
  assert messages(error)[-1] == (
      'Interrupted while there was nothing to save. Run the same command again.'
  )
  assert 'Traceback' not in error and 'resource_tracker' not in error
  wait_until_gone(pids, names)
