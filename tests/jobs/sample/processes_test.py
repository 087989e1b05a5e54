"""Real processes that are killed or stopped, and two that share a folder."""

import signal
import time

import pytest

from tests import processes
from tests.jobs import generators

pytestmark = pytest.mark.process

CHUNKS = 60
# Slow enough to be stopped before it ends.
PROGRAM = """
import sys, time
from rq_jax import __main__ as main_lib
from rq_jax.jobs.sample import layout

slow, *flags = sys.argv[1:]
write = layout.Files.write

def slowly(self, chunk, images, pool):
  time.sleep(float(slow))
  write(self, chunk, images, pool)
  print('drew', chunk, flush=True)

layout.Files.write = slowly
sys.exit(main_lib.main(['sample', *flags]))
"""


def start(generator, out, count=1, slow=0):
  """Processes that draw 60 chunks of three images; the last has two."""
  flags = [f'--checkpoint={generator}', f'--out={out}', '--format=shards']
  flags += [f'--num_images={3 * CHUNKS - 1}', '--chunk_size=3']
  flags += ['--shard_size=50', '--labels=4,2', '--seed=5']
  return [
      # One device: a process draws each chunk on all its devices.
      processes.start(PROGRAM, slow, *flags, *joining, devices=1)
      for joining in processes.joining(count)
  ]


def finished_in(out):
  """Finished chunks: those with a record, which follows their file."""
  return {int(record.stem) for record in (out / 'parts').glob('*.json')}


def wait_for_chunks(out, count, started):
  while len(finished_in(out)) < count and all(
      p.poll() is None for p in started
  ):
    time.sleep(0.02)


def chunks_in(output):
  lines = [line for line in output.splitlines() if line.startswith('drew')]
  return {int(line.split()[1]) for line in lines}


def go_on(out):
  """Draws the missing chunks in this process; returns all files then."""
  made = generators.sampler()
  generators.run(
      out,
      made,
      num_images=3 * CHUNKS - 1,
      kind='labels',
      values=[4, 2],
      format='shards',
      shard_size=50,
      origin=generators.ORIGIN | {'step': 0, 'ema': False},
  )
  return generators.contents(out)


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
  """The files of a job that ran without interruption."""
  return go_on(tmp_path_factory.mktemp('undisturbed'))


def test_after_kill_9_two_processes_go_on_with_what_is_missing(
    generator, undisturbed, tmp_path
):
  out = tmp_path / 'out'
  started = start(generator, out, count=2, slow=0.1)
  wait_for_chunks(out, 5, started)
  killed = processes.end(started, signal.SIGKILL)
  assert [code for code, _, _ in killed] == [-9, -9]
  finished = finished_in(out)
  assert 5 <= len(finished) < CHUNKS
  assert not (out / 'shard-00000-of-00004.npz').exists()
  (first, output, _), (second, other, _) = processes.end(
      start(generator, out, count=2)
  )
  assert first == second == 0
  assert chunks_in(output) == set(range(0, CHUNKS, 2)) - finished
  assert chunks_in(other) == set(range(1, CHUNKS, 2)) - finished
  assert generators.contents(out) == undisturbed


def test_sigterm_ends_the_chunk_and_the_same_job_goes_on(
    generator, undisturbed, tmp_path
):
  out = tmp_path / 'out'
  started = start(generator, out, slow=0.1)
  wait_for_chunks(out, 3, started)
  ((code, output, error),) = processes.end(started, signal.SIGTERM)
  assert code == 75
  drawn = chunks_in(output)
  assert 3 <= len(drawn) < CHUNKS
  assert drawn == {int(file.stem) for file in (out / 'parts').iterdir()}
  sentence = error.splitlines()[-1]
  assert f'{3 * len(drawn)} of 179 images are finished in {out}' in sentence
  assert 'Run the same command again' in sentence
  assert go_on(out) == undisturbed


def test_a_signal_to_one_of_two_processes_stops_the_job_resumably(
    generator, tmp_path
):
  out = tmp_path / 'out'
  first, second = start(generator, out, count=2, slow=0.05)
  wait_for_chunks(out, 5, [first, second])
  second.send_signal(signal.SIGTERM)
  for code, _, error in processes.end([first, second]):
    assert code == 75
    assert 'Run the same command again' in error
  # The first process drew all its chunks.
  finished = {int(file.stem) for file in (out / 'parts').iterdir()}
  assert set(range(0, CHUNKS, 2)) < finished < set(range(CHUNKS))
