"""Killed at random, on one and two processes, the files are the same."""

import json
import random
import time

import pytest

from rq_jax.data.prepared import shards
from tests import processes
from tests.jobs.prepare import folders

pytestmark = pytest.mark.process

# Slow enough to be killed before it ends.
PROGRAM = """
import sys, time
from rq_jax import __main__ as main_lib
from rq_jax.data.prepared import shards

size, slow, *flags = sys.argv[1:]
shards.SHARD_BYTES = int(size)
write = shards.Writer.write

def slowly(self, record):
  time.sleep(float(slow))
  write(self, record)

shards.Writer.write = slowly
print('started', flush=True)
sys.exit(main_lib.main(['prepare', *flags]))
"""


@pytest.fixture(scope='module')
def images(tmp_path_factory):
  """A folder of images, one of them broken."""
  folder = tmp_path_factory.mktemp('images') / 'images'
  folders.write(folder)
  (folder / 'dog' / '03.jpg').write_bytes(b'no image')
  return folder


@pytest.fixture(scope='module')
def undisturbed(images, tmp_path_factory):
  """The files of a job in this process, without interruption."""
  out = tmp_path_factory.mktemp('undisturbed')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(shards, 'SHARD_BYTES', folders.SHARD_BYTES)
    folders.prepare(images, out, skip=True)
  return folders.contents(out)


def start(images, out, *, slow=0.0, count=1, on_error='skip'):
  """Starts the command in one or more processes."""
  flags = [f'--src={images}', f'--out={out}', '--from=folder']
  flags += [f'--on_error={on_error}', '--workers=1']
  several = []
  if count > 1:
    port = processes.free_port()
    several = [f'--coordinator=localhost:{port}', f'--processes={count}']
  return [
      processes.start(
          PROGRAM, folders.SHARD_BYTES, slow, *flags, *several,
          *([f'--process={i}'] if several else []),
      )
      for i in range(count)
  ]  # fmt: skip


def works(out, process):
  """Whether a process writes to the folder. Killed ones leave their name."""
  try:
    return (
        json.loads((out / '.heartbeat').read_text())['process'] == process.pid
    )
  except (OSError, ValueError):
    return False


@pytest.mark.parametrize('count', [1, 2])
def test_killed_jobs_end_with_the_files_of_an_undisturbed_one(
    images, undisturbed, tmp_path, count
):
  out = tmp_path / 'out'
  draw = random.Random(count)
  for _ in range(2):
    started = start(images, out, slow=0.05, count=count)
    while not works(out, started[0]) and started[0].poll() is None:
      time.sleep(0.01)
    time.sleep(draw.uniform(0, 0.6))
    for process in started:
      process.kill()
    processes.end(started)
  # A killed process leaves its files; a kill may also come at the end.
  assert (out / 'job.json').exists()
  (code, output, error), *_ = processes.end(start(images, out, count=count))
  assert code == 0, error
  assert 'left out because they cannot be read: 1.' in output
  assert folders.contents(out) == undisturbed


def test_a_process_that_fails_stops_the_others_soon(images, tmp_path):
  """Otherwise, they would work to the end, and then fail without a reason."""
  out = tmp_path / 'out'
  started = start(images, out, slow=0.2, count=2, on_error='fail')
  ended = processes.end(started)
  assert [code for code, _, _ in ended] == [1, 1], ended
  errors = [error for _, _, error in ended]
  failed = next(i for i in range(2) if 'Error: dog/03.jpg is' in errors[i])
  which = f'Process {failed}' if failed else 'The first process'
  sentence = f'Error: {which} has stopped. Its message gives the reason.'
  assert sentence in errors[1 - failed]
  names = {file.name for file in out.iterdir()}
  assert not any(name.endswith('.partial') for name in names)
  # Of the 6 shards, at most those before the broken image are finished.
  assert len([n for n in names if n.endswith('.json')]) < 4
