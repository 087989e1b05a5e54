"""Signals to stop: a save, exit code 75, and the same command resumes."""

import os
import pathlib
import pty
import select
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests import tiny
from tests import tiny_flags
from tests.signals import not_ignored  # noqa: F401 (a fixture)

pytestmark = pytest.mark.process

STEPS = 40
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
TINY = (
    *tiny_flags.FLAGS,
    f'--config.train.steps={STEPS}',
    '--config.train.eval_images=20',
)


# A slow save, which prints a line when it begins.
SLOW = """
import time
from rq_jax import __main__
import orbax.checkpoint as ocp

finalize = ocp.CheckpointManager._finalize

def slow(*arguments, **options):
  print('saving', flush=True)
  time.sleep(1)
  finalize(*arguments, **options)

ocp.CheckpointManager._finalize = slow
__main__.program()
"""


def start(workdir, program=('-m', 'rq_jax')):
  return subprocess.Popen(
      [sys.executable, *program, 'train', f'--workdir={workdir}', *TINY],
      stderr=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
  )


def logged_steps(workdir):
  file = workdir / 'metrics.jsonl'
  lines = tiny.metric_lines(workdir) if file.exists() else []
  return [line['step'] for line in lines]


def after_steps(count, workdir, process):
  while process.poll() is None and len(logged_steps(workdir)) < count:
    time.sleep(0.05)
  return process


def test_signals_save_once_and_the_same_command_goes_on(tmp_path):
  process = after_steps(3, tmp_path, start(tmp_path, ('-c', SLOW)))
  process.send_signal(signal.SIGUSR1)
  while process.stdout.readline() not in ('saving\n', ''):
    pass
  # None of these signals interrupts the save.
  for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    process.send_signal(number)
    time.sleep(0.1)
  _, error = process.communicate(timeout=120)
  assert process.returncode == 75
  assert 'Still finishing; please wait.' in error
  assert 'Traceback' not in error
  (saved,) = [int(p.name) for p in (tmp_path / 'checkpoints').iterdir()]
  sentence = error.splitlines()[-1]
  assert f'saved at step {saved}. Run the same command again' in sentence
  assert 3 <= saved < STEPS

  again = start(tmp_path)
  out, _ = again.communicate(timeout=300)
  assert again.returncode == 0
  assert 'eval/mse' in out
  steps = logged_steps(tmp_path)
  assert steps == [*range(1, STEPS + 1), STEPS]  # The last is the evaluation.


def test_a_terminal_that_is_closed_saves_like_any_signal(tmp_path):
  """Nothing reads the output of the command any more."""
  ours, theirs = pty.openpty()
  process = subprocess.Popen(
      [sys.executable, '-m', 'rq_jax', 'train', f'--workdir={tmp_path}', *TINY],
      stdin=theirs,
      stdout=theirs,
      stderr=theirs,
      start_new_session=True,
  )
  os.close(theirs)
  closing = threading.Event()
  reader = threading.Thread(target=read_all, args=(ours, closing))
  reader.start()
  after_steps(3, tmp_path, process)
  closing.set()
  reader.join()
  os.close(ours)
  process.send_signal(signal.SIGHUP)
  assert process.wait(timeout=120) == 75
  assert len(list((tmp_path / 'checkpoints').iterdir())) == 1


def read_all(descriptor, closing):
  """Reads a terminal until it is about to be closed."""
  while not closing.is_set():
    if select.select([descriptor], [], [], 0.1)[0]:
      os.read(descriptor, 1000)


@pytest.mark.parametrize('number', SIGNALS)
def test_a_signal_before_the_first_step_leaves_with_a_sentence(
    number, tmp_path
):
  process = start(tmp_path / 'run')
  # The command reads the experiment before it loads jax.
  maps = pathlib.Path(f'/proc/{process.pid}/maps')
  while 'libjax_common' not in maps.read_text():
    time.sleep(0.01)
  process.send_signal(number)
  _, error = process.communicate(timeout=60)
  assert process.returncode == 75
  assert error.strip() == (
      'Interrupted while there was nothing to save. Run the same command again.'
  )
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('number', SIGNALS[2:])
def test_commands_that_cannot_resume_clean_up_and_exit(number):
  code = (
      'import os; from rq_jax.cli import command\n'
      'def work(_):\n'
      '  try:\n'
      f'    os.kill(os.getpid(), {int(number)})\n'
      '  finally:\n'
      '    print("cleaned up")\n'
      'command.run(command.new_flags(), ["x"], "", work)'
  )
  done = subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True, timeout=60
  )
  assert (done.returncode, done.stdout) == (128 + number, 'cleaned up\n')


WAITING = (
    'import threading; from rq_jax import __main__;'
    ' threading.Thread(target=threading.Event().wait).start();'
)


def program(code, *arguments):
  """A program with a thread that waits for ever."""
  return subprocess.run(
      [sys.executable, '-c', WAITING + code, *arguments],
      capture_output=True,
      text=True,
      timeout=60,
  )


def test_an_error_ends_the_program_whatever_its_threads_wait_for():
  code = 'print("said"); __main__.program()'
  done = program(code, 'train', '--config=no/such.py', '--workdir=x')
  assert (done.returncode, done.stdout) == (1, 'said\n')
  assert done.stderr.startswith(
      'Error: --config=no/such.py cannot be read: there is no file'
  )


def test_a_bug_ends_the_program_with_its_trace():
  done = program('__main__.main = lambda: 1 / 0; __main__.program()')
  assert done.returncode == 1
  assert done.stderr.endswith('ZeroDivisionError: division by zero\n')
