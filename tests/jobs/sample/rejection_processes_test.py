"""Real processes that score draws: a killed one, and two that go on."""

import signal

import pytest

from tests import processes
from tests.jobs import generators
from tests.jobs import rejection

pytestmark = pytest.mark.process

# Slow enough to be killed before it ends.
PROGRAM = """
import sys, time
from rq_jax import __main__ as main_lib
from rq_jax.jobs.sample import draws
from rq_jax.jobs.sample import rejection as rejection_lib
from tests.jobs import rejection

slow, *flags = sys.argv[1:]
write = draws.Draws.write

def slowly(self, number, *arrays):
  time.sleep(float(slow))
  write(self, number, *arrays)
  print('scored', number, flush=True)
  if float(slow) and number == 9:
    time.sleep(1000)

draws.Draws.write = slowly
rejection_lib.restore = lambda rate, *_, **__: rejection.rule(rate)
sys.exit(main_lib.main(['sample', *flags]))
"""


def start(generator, out, count=1, slow=0):
  """Processes that score 20 chunks of three draws, for 15 images."""
  flags = [f'--checkpoint={generator}', f'--out={out}', '--format=shards']
  flags += ['--num_images=15', '--chunk_size=3', '--shard_size=4']
  flags += ['--labels=4,2,7', '--seed=5', '--accept=0.25', '--classifier=x']
  return [
      processes.start(PROGRAM, slow, *flags, *joining, devices=1)
      for joining in processes.joining(count)
  ]


def scored(output):
  lines = [line for line in output.splitlines() if line.startswith('scored')]
  return {int(line.split()[1]) for line in lines}


def test_after_kill_9_two_processes_select_what_one_would_have(
    generator, tmp_path
):
  out = tmp_path / 'out'
  (killed,) = start(generator, out, slow=0.01)
  while 'scored 9' not in killed.stdout.readline():
    assert killed.poll() is None
  assert processes.end([killed], signal.SIGKILL)[0][0] == -9
  assert {int(f.stem) for f in (out / 'draws').iterdir()} == set(range(10))
  (first, output, _), (second, other, _) = processes.end(
      start(generator, out, count=2)
  )
  assert first == second == 0
  assert scored(output) == set(range(10, 20, 2))
  assert scored(other) == set(range(11, 20, 2))
  assert 'Accepted 15 of 60 draws' in output
  rejection.run(
      tmp_path / 'one',
      values=[4, 2, 7],
      num_images=15,
      format='shards',
      shard_size=4,
      origin=generators.ORIGIN | {'step': 0, 'ema': False},
  )
  found, one = generators.contents(out), generators.contents(tmp_path / 'one')
  del found['job.json']['rejection'], one['job.json']['rejection']
  assert found == one
