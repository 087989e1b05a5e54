"""Two processes train for an hour, and a fault happens every two minutes.

RQ_JAX_DRILL_MINUTES sets the length, and RQ_JAX_DRILL_SEED the faults. In a
shorter drill, they follow each other faster. A run that takes longer, on a busy
machine, ends without further faults or pauses.
"""

import os
import re
import signal
import time

import numpy as np
import pytest

from rq_jax.checkpoints import steps
from tests import processes
from tests import tiny
from tests import tiny_flags
from tests.drills import damage

pytestmark = [pytest.mark.process, pytest.mark.drill]

MINUTES = float(os.environ.get('RQ_JAX_DRILL_MINUTES', '60'))
SEED = int(os.environ.get('RQ_JAX_DRILL_SEED', '0'))
SECONDS_BETWEEN = min(120, 10 * MINUTES)
# Most of an hour with faults is spent in steps.
SECONDS_PER_STEP = 0.25
STEPS = int(MINUTES * 60 / SECONDS_PER_STEP * 0.6)
PROGRAM = """
import os, time
from rq_jax import __main__
from rq_jax.distributed import partitioning

join = partitioning.global_batch

def slow(*arguments):
  time.sleep(float(os.environ['SECONDS_PER_STEP']))
  return join(*arguments)

partitioning.global_batch = slow
__main__.program()
"""


def start(workdir, *, pause):
  """Starts both processes of the run, which pauses before every step."""
  return [
      processes.start(
          PROGRAM,
          *('train', *tiny_flags.FLAGS, *joining, f'--workdir={workdir}'),
          f'--config.train.steps={STEPS}',
          '--config.train.checkpoint_steps=20',
          '--config.train.eval_images=8',
          '--config.train.keep_checkpoints=3',
          '--config.optimizer.ema_decay=0.9',
          variables={'SECONDS_PER_STEP': str(pause)},
      )
      for joining in processes.joining(2)
  ]


def end(started, codes, timeout=300):
  """Waits until processes have ended; returns their outputs and errors."""
  ended = processes.end(started, timeout=timeout)
  assert all(code in codes for code, _, _ in ended), ended
  assert not any('Traceback' in errors for _, _, errors in ended), ended
  return ended


def kill(started, workdir, rng):
  """Kills one process; the other must leave."""
  del workdir
  victim = int(rng.integers(2))
  started[victim].kill()
  ended = end([started[1 - victim]], {75})
  processes.end([started[victim]])
  return ended


def kill_both(started, workdir, rng):
  """Kills both processes, as a power failure does."""
  del workdir, rng
  for process in started:
    process.kill()
  return end(started, {-9})


def stop(started, workdir, rng):
  """Stops one process, which never continues; the other must leave."""
  del workdir
  victim = int(rng.integers(2))
  started[victim].send_signal(signal.SIGSTOP)
  begun = time.monotonic()
  ended = end([started[1 - victim]], {75})
  assert time.monotonic() - begun < 35
  processes.end([started[victim]], signal.SIGKILL)
  return ended


def interrupt(started, workdir, rng):
  """Sends a signal to one process or to both; both save and leave."""
  del workdir
  numbers = signal.SIGTERM, signal.SIGINT, signal.SIGUSR1
  number = numbers[int(rng.integers(3))]
  for process in (started, started[:1], started[1:])[int(rng.integers(3))]:
    process.send_signal(number)
  return end(started, {75})


def flip(started, workdir, rng):
  """Kills both, and flips a bit of the newest checkpoint."""
  ended = kill_both(started, workdir, rng)
  damage_newest(workdir, rng, damage.flip)
  return ended


def truncate(started, workdir, rng):
  """Kills both, and cuts off a file of the newest checkpoint."""
  ended = kill_both(started, workdir, rng)
  damage_newest(workdir, rng, damage.truncate)
  return ended


def damage_newest(workdir, rng, how):
  found = steps.finished(workdir)
  if len(found) > 1:  # Otherwise, the run could not continue.
    newest = workdir / 'checkpoints' / str(found[-1])
    files = sorted(file for file in newest.rglob('*') if file.is_file())
    how(files[int(rng.integers(len(files)))], rng)


FAULTS = (kill, kill_both, stop, interrupt, flip, truncate)


def test_a_long_run_with_many_faults_ends_bit_identical(tmp_path):
  rng = np.random.default_rng(SEED)
  workdir, begun, faults = tmp_path / 'run', time.monotonic(), []
  while True:
    late = time.monotonic() - begun > 60 * MINUTES
    started = start(workdir, pause=0 if late else SECONDS_PER_STEP)
    until = time.monotonic() + rng.uniform(0.5, 1.5) * SECONDS_BETWEEN
    while (late or time.monotonic() < until) and started[0].poll() is None:
      time.sleep(0.1)
    if started[0].poll() is not None:
      ended = end(started, {0})
      break
    fault = FAULTS[int(rng.integers(len(FAULTS)))]
    fault(started, workdir, rng)
    faults.append(fault.__name__)
    newest = max(steps.finished(workdir), default=0)
    minutes = (time.monotonic() - begun) / 60
    print(f'{minutes:.1f} min: {faults[-1]}, checkpoint {newest}', flush=True)
  (goodput,) = re.findall(r'Goodput .*', ended[0][1] + ended[0][2])
  minutes = (time.monotonic() - begun) / 60
  print(f'{len(faults)} faults in {minutes:.1f} min. {goodput}')
  end(start(tmp_path / 'whole', pause=0), {0}, timeout=60 * MINUTES)
  tiny.assert_trees_equal(
      tiny.saved_state(workdir), tiny.saved_state(tmp_path / 'whole')
  )
  assert tiny.metric_lines(workdir) == tiny.metric_lines(tmp_path / 'whole')
