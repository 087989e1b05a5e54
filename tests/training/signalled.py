"""Runs as users start them, which get signals at chosen moments."""

import signal
import time

from rq_jax import config as config_lib
from tests import processes
from tests import tiny

# Words after which the signal is sent, by moment. The program prints the
# others itself.
MOMENTS = {
    'start': 'started',
    'step': 'step 3',
    'save': 'saving 4',
    'evaluation': 'evaluating',
}
# Seconds between two signals to a run.
APART = 0.5

# It handles signals before it imports JAX.
STARTING = """
import sys
from rq_jax import __main__
print('started', flush=True)
sys.argv[0] = 'rq_jax'
__main__.program()
"""
PROGRAM = """
import sys, time
from rq_jax import __main__
from rq_jax.checkpoints import runs
from rq_jax.training import evaluating
from rq_jax.training import stepping

def announce(owner, name, words):
  real = getattr(owner, name)
  def announced(self, *arguments, **options):
    print(words(*arguments), flush=True)
    time.sleep(0.3)  # For the signal to arrive in the middle.
    return real(self, *arguments, **options)
  setattr(owner, name, announced)

announce(stepping.Stepper, 'take', lambda step, *_: f'step {step}')
announce(runs.Checkpoints, 'save', lambda step, *_: f'saving {step}')
announce(evaluating.Evaluator, '__call__', lambda *_: 'evaluating')
sys.argv[0] = 'rq_jax'
__main__.program()
"""


def start(folder, count, program=PROGRAM):
  """Starts a run in several processes that work together."""
  file = folder / 'config.json'
  if not file.exists():
    experiment = tiny.changed(
        tiny.run_config(1),
        model=dict(code_shape=(8, 8, 2)),  # Nothing is folded.
        train=dict(steps=30, eval_steps=6, checkpoint_steps=4),
    )
    file.write_text(config_lib.to_json(experiment))
  flags = [f'--config={folder}', f'--workdir={folder / "run"}']
  return [
      processes.start(program, 'train', *flags, *joining)
      for joining in processes.joining(count)
  ]


def wait_for(process, words):
  for line in process.stdout:
    if line.strip().endswith(words):
      return
  raise AssertionError(process.stderr.read())


def check(folder, *, count, names, moment):
  """Sends signals to all processes of a run, and lets it end and resume.

  Args:
    folder: An empty folder.
    count: Number of processes.
    names: Names of the signals, which are sent one after the other.
    moment: When to send them, a key of `MOMENTS`.

  Returns:
    Seconds from the first signal to the end of all processes.
  """
  starting = moment == 'start'
  started = start(folder, count, STARTING if starting else PROGRAM)
  for process in started if starting else started[:1]:
    wait_for(process, MOMENTS[moment])
  if starting:
    time.sleep(0.5)
  since = time.monotonic()
  for name in names:
    for process in started:
      if process.poll() is None:
        process.send_signal(getattr(signal, name))
    time.sleep(APART if len(names) > 1 else 0)
  try:
    ended = [p.communicate(timeout=120) for p in started]
  finally:
    for process in started:
      process.kill()
  took = time.monotonic() - since
  assert [p.returncode for p in started] == [75] * count, ended
  for _, errors in ended:
    assert 'Traceback' not in errors, errors
  print(f'{count} processes, {names} at {moment}: {took:.1f} s')
  resumed = processes.end(start(folder, count, STARTING))
  assert [code for code, _, _ in resumed] == [0] * count, resumed
  if not starting:
    assert 'Resuming after step' in resumed[0][1]
  return took
