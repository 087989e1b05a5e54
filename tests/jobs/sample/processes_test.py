"""Real processes: killed, told to stop, and two of them sharing a folder."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.jobs import generators

ROOT = pathlib.Path(__file__).resolve().parents[3]
CHUNKS = 60
# The devices of a test of this process would draw a chunk together.
ONE_DEVICE = (
    '--xla_force_host_platform_device_count=1'
    ' --xla_backend_optimization_level=0'
)
# Slow enough to be met on its way.
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


@pytest.fixture(scope='module')
def generator(tmp_path_factory):
  path = tmp_path_factory.mktemp('generator')
  generators.export(path)
  return path


def start(generator, out, count=1, slow=0):
  """Processes that draw three images in each of 60 chunks, but one."""
  flags = [f'--checkpoint={generator}', f'--out={out}', '--format=shards']
  flags += [f'--num_images={3 * CHUNKS - 1}', '--chunk_size=3']
  flags += ['--shard_size=50', '--labels=4,2', '--seed=5', '--distributed=off']
  if count > 1:
    with socket.socket() as free:
      free.bind(('localhost', 0))
      address = f'localhost:{free.getsockname()[1]}'
    flags[-1:] = [f'--coordinator={address}', f'--processes={count}']
  return [
      subprocess.Popen(
          [
              *(sys.executable, '-c', PROGRAM, str(slow), *flags),
              *([f'--process={i}'] if count > 1 else []),
          ],
          cwd=ROOT,
          env=os.environ | {'XLA_FLAGS': ONE_DEVICE},
          stdout=subprocess.PIPE,
          stderr=subprocess.PIPE,
          text=True,
      )
      for i in range(count)
  ]


def end(processes, number=None):
  """Sends a signal, and returns exit codes, outputs and errors."""
  try:
    for process in processes if number else ():
      process.send_signal(number)
    texts = [process.communicate(timeout=120) for process in processes]
  finally:
    for process in processes:
      process.kill()
  return [(p.returncode, *text) for p, text in zip(processes, texts)]


def wait_for_chunks(out, count, processes):
  def parts():
    return list((out / 'parts').glob('*.npy'))

  while len(parts()) < count and all(p.poll() is None for p in processes):
    time.sleep(0.02)


def chunks_in(output):
  lines = [line for line in output.splitlines() if line.startswith('drew')]
  return {int(line.split()[1]) for line in lines}


def go_on(out):
  """Draws in this process what is missing of the job; what is then there."""
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
  """What a job leaves that nothing disturbed."""
  return go_on(tmp_path_factory.mktemp('undisturbed'))


def test_after_kill_9_two_processes_go_on_with_what_is_missing(
    generator, undisturbed, tmp_path
):
  out = tmp_path / 'out'
  processes = start(generator, out, count=2, slow=0.1)
  wait_for_chunks(out, 5, processes)
  killed = end(processes, signal.SIGKILL)
  assert [code for code, _, _ in killed] == [-9, -9]
  finished = {int(file.stem) for file in (out / 'parts').glob('*.npy')}
  assert 5 <= len(finished) < CHUNKS
  assert not (out / 'shard-00000-of-00004.npz').exists()
  (first, output, _), (second, other, _) = end(start(generator, out, count=2))
  assert first == second == 0
  assert chunks_in(output) == set(range(0, CHUNKS, 2)) - finished
  assert chunks_in(other) == set(range(1, CHUNKS, 2)) - finished
  assert generators.contents(out) == undisturbed


def test_sigterm_ends_the_chunk_and_the_same_job_goes_on(
    generator, undisturbed, tmp_path
):
  out = tmp_path / 'out'
  processes = start(generator, out, slow=0.1)
  wait_for_chunks(out, 3, processes)
  ((code, output, error),) = end(processes, signal.SIGTERM)
  assert code == 75
  drawn = chunks_in(output)
  assert 3 <= len(drawn) < CHUNKS
  assert drawn == {int(file.stem) for file in (out / 'parts').iterdir()}
  sentence = error.splitlines()[-1]
  assert f'{3 * len(drawn)} of 179 images are finished in {out}' in sentence
  assert 'the same command goes on' in sentence
  assert go_on(out) == undisturbed


def test_a_signal_to_one_of_two_processes_stops_the_job_resumably(
    generator, tmp_path
):
  out = tmp_path / 'out'
  first, second = start(generator, out, count=2, slow=0.05)
  wait_for_chunks(out, 5, [first, second])
  second.send_signal(signal.SIGTERM)
  for code, _, error in end([first, second]):
    assert code == 75
    assert 'the same command goes on' in error
  # The first drew all of its own.
  finished = {int(file.stem) for file in (out / 'parts').iterdir()}
  assert set(range(0, CHUNKS, 2)) < finished < set(range(CHUNKS))
