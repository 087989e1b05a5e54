"""A program is suspended until another machine may take its workdir.

The machines have no common locks, only the heartbeat in the workdir. The other
one waits until the program counts as dead, and goes on with the run.
"""

import signal
import time

import pytest

from rq_jax.checkpoints import steps
from rq_jax.distributed import locks
from tests import processes
from tests import tiny
from tests import tiny_flags

pytestmark = [pytest.mark.drill, pytest.mark.process]

STEPS = 60
PROGRAM = """
import sys, time
from rq_jax import __main__
from rq_jax.distributed import locks
from rq_jax.training import stepping

machine, pause = sys.argv.pop(1), float(sys.argv.pop(1))
locks._machine = lambda: machine
locks._lock = lambda folder, held: False
take = stepping.Stepper.take

def slow(*arguments):
  time.sleep(pause)
  return take(*arguments)

stepping.Stepper.take = slow
__main__.program()
"""


def start(workdir, machine, *, pause):
  return processes.start(
      PROGRAM,
      *(machine, pause),
      *('train', *tiny_flags.FLAGS, f'--workdir={workdir}'),
      *(f'--config.train.steps={STEPS}', '--config.train.checkpoint_steps=5'),
      '--distributed=off',
  )


def test_a_suspended_program_gives_its_workdir_up(tmp_path):
  workdir = tmp_path / 'run'
  first = start(workdir, 'one', pause=1)
  while not steps.finished(workdir) and first.poll() is None:
    time.sleep(0.1)
  first.send_signal(signal.SIGSTOP)
  # A few seconds are for file systems that show changes late.
  time.sleep(locks.DEAD_AFTER_SECONDS / 2)
  ((code, _, error),) = processes.end([start(workdir, 'two', pause=0)])
  assert code == 1
  assert 'is in use: process' in error
  time.sleep(locks.DEAD_AFTER_SECONDS / 2 + 5)
  second = start(workdir, 'two', pause=1)
  newest = max(steps.finished(workdir))
  while max(steps.finished(workdir)) == newest and second.poll() is None:
    time.sleep(0.1)
  first.send_signal(signal.SIGCONT)
  ((code, _, error),) = processes.end([first])
  assert code == 1
  assert 'now belongs to process' in error
  assert second.poll() is None
  ((code, _, error),) = processes.end([second])
  assert code == 0, error
  ((code, _, error),) = processes.end([start(tmp_path / 'whole', '', pause=0)])
  assert code == 0, error
  whole = tmp_path / 'whole'
  tiny.assert_trees_equal(tiny.saved_state(workdir), tiny.saved_state(whole))
  assert tiny.metric_lines(workdir) == tiny.metric_lines(whole)
