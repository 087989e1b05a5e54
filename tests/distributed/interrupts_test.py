"""Signals to stop are recorded, and handled between two steps."""

import os
import pathlib
import signal
import subprocess
import sys

import jax
from jax.experimental import multihost_utils
import pytest

from rq_jax.distributed import interrupts
from tests import processes

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
ROOT = pathlib.Path(__file__).resolve().parents[2]


def handlers():
  return {number: signal.getsignal(number) for number in SIGNALS}


@pytest.fixture(autouse=True)
def not_ignored():
  """The tests may have been started with signals ignored."""
  before = handlers()
  for number, handler in before.items():
    if handler is signal.SIG_IGN:
      signal.signal(number, signal.SIG_DFL)
  yield
  for number, handler in before.items():
    signal.signal(number, handler)


@pytest.mark.parametrize('number', SIGNALS)
def test_a_signal_is_noted_and_the_handlers_come_back(number):
  before = handlers()
  with interrupts.Interrupts() as signals:
    assert not signals.requested(1)
    os.kill(os.getpid(), number)
    assert signals.requested(1)
    assert signals.requested(2)
  assert handlers() == before
  with signals:
    assert not signals.requested(3)


def test_a_second_signal_asks_for_patience(capfd):
  with interrupts.Interrupts() as signals:
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.requested(1)
    assert capfd.readouterr().err == ''
    os.kill(os.getpid(), signal.SIGHUP)
    assert signals.requested(1)
  assert 'Still finishing; please wait.' in capfd.readouterr().err


def test_what_was_ignored_stays_ignored():
  """For example, SIGHUP under nohup."""
  signal.signal(signal.SIGHUP, signal.SIG_IGN)
  with interrupts.Interrupts() as signals:
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    os.kill(os.getpid(), signal.SIGHUP)
    assert not signals.requested(1)
  assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


LEAVES = """
import hashlib, signal, sys, time
from rq_jax.distributed import interrupts

for number in (signal.SIGINT, signal.SIGHUP):
  signal.signal(number, signal.default_int_handler)
with interrupts.leaving_at_once('Nothing is lost.', 75):
  print('ready', flush=True)
  if sys.argv[1] == 'python':
    time.sleep(60)
  # Returns to Python only after minutes, like a compilation.
  hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)
"""


def leaves(how):
  return subprocess.Popen(
      [sys.executable, '-c', LEAVES, how],
      cwd=ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
  )


@pytest.mark.process
@pytest.mark.parametrize(
    ('number', 'how'),
    [*((number, 'python') for number in SIGNALS), (signal.SIGTERM, 'c')],
)
def test_while_nothing_is_to_be_saved_a_signal_ends_the_process(number, how):
  process = leaves(how)
  assert process.stdout.readline() == 'ready\n'
  process.send_signal(number)
  _, error = process.communicate(timeout=30)
  assert (process.returncode, error.strip()) == (75, 'Nothing is lost.')


@pytest.mark.process
@pytest.mark.parametrize('ending', ['a signal', 'an error'])
def test_programs_without_standard_streams_end_with_the_same_codes(ending):
  if ending == 'a signal':
    program, code = LEAVES.replace('print(', 'os.kill(os.getpid(), 15) #'), 75
  else:
    program, code = LEAVES.split('for')[0] + 'interrupts.end_at_once(3)', 3
  closed = subprocess.run(
      ['bash', '-c', 'exec "$0" -c "$1" python >&- 2>&-', sys.executable]
      + [program.replace('import hashlib', 'import hashlib, os')],
      cwd=ROOT,
      timeout=60,
  )
  assert closed.returncode == code


def test_leaving_leaves_the_signals_as_they_were():
  before = handlers()
  with interrupts.leaving_at_once('', 75):
    assert signal.getsignal(signal.SIGTERM) != before[signal.SIGTERM]
    with interrupts.Interrupts() as signals:
      os.kill(os.getpid(), signal.SIGTERM)
      assert signals.requested(1)  # No exit: there is something to save.
  assert handlers() == before


def test_handlers_come_back_after_an_error():
  before = signal.getsignal(signal.SIGTERM)
  with pytest.raises(KeyError), interrupts.Interrupts():
    assert signal.getsignal(signal.SIGTERM) != before
    raise KeyError
  assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize('reached', [True, False])
def test_several_processes_leave_the_signals_and_the_step_to_jax(
    monkeypatch, reached
):
  asked = []

  def sync_point(step):
    asked.append(step)
    return reached

  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  monkeypatch.setattr(
      multihost_utils, 'reached_preemption_sync_point', sync_point
  )
  before = signal.getsignal(signal.SIGTERM)
  with interrupts.Interrupts() as signals:
    assert signal.getsignal(signal.SIGTERM) == before
    assert signals.requested(5) == reached
  assert asked == [5]


@pytest.mark.parametrize('number', SIGNALS[1:])
def test_several_processes_get_other_signals_as_sigterm(monkeypatch, number):
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  noted = []
  signal.signal(signal.SIGTERM, lambda *_: noted.append('SIGTERM'))
  with interrupts.Interrupts():
    os.kill(os.getpid(), number)
  assert noted == ['SIGTERM']


def test_a_process_that_stops_alone_notes_signals_among_others(monkeypatch):
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  with interrupts.Interrupts(alone=True) as signals:
    assert not signals.requested(1)
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.requested(1)


_PROCESS = """
import os, signal, sys, time
from rq_jax.distributed import interrupts
from rq_jax.distributed import processes

processes.initialize()
import jax

index = jax.process_index()
with interrupts.Interrupts() as signals:
  if index == 0:
    os.kill(os.getpid(), signal.SIGUSR1)
  for step in range(1, 1000):
    if signals.requested(step):
      print('stopped after', step)
      break
    time.sleep(0.02)
"""


@pytest.mark.process
def test_a_signal_to_one_of_two_processes_stops_both_after_the_same_step():
  """Their environment is that of tasks of Slurm."""
  slurm = {
      'SLURM_JOB_ID': '7',
      'SLURM_STEP_NODELIST': 'localhost',
      'SLURM_NTASKS': '2',
      'JAX_COORDINATOR_PORT': str(processes.free_port()),
  }
  started = [
      processes.start(
          _PROCESS,
          variables=slurm
          | {'SLURM_PROCID': str(index), 'SLURM_LOCALID': str(index)},
      )
      for index in range(2)
  ]
  (_, first, error), (_, second, _) = processes.end(started)
  assert len(first.splitlines()) == 2, error
  said, stopped = first.splitlines()
  assert said == '2 processes work together, announced by Slurm.'
  assert stopped.startswith('stopped after ')
  assert second.splitlines() == [stopped]


def test_an_interruption_says_where_and_how_to_go_on():
  assert str(interrupts.Interrupted('saved at step 12')) == (
      'Interrupted: saved at step 12. Run the same command again to resume.'
  )
