"""Signals to stop are noted, and answered between two steps."""

import os
import pathlib
import signal
import socket
import subprocess
import sys

import jax
from jax.experimental import multihost_utils
import pytest

from rq_jax.training import interrupts


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_the_handlers_come_back(number):
  before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
  with interrupts.Interrupts() as signals:
    assert not signals.requested(1)
    os.kill(os.getpid(), number)
    assert signals.requested(1)
    assert signals.requested(2)
  assert {s: signal.getsignal(s) for s in before} == before
  with signals:
    assert not signals.requested(3)


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


def test_a_process_that_stops_alone_notes_signals_among_others(monkeypatch):
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  with interrupts.Interrupts(alone=True) as signals:
    assert not signals.requested(1)
    os.kill(os.getpid(), signal.SIGTERM)
    assert signals.requested(1)


_PROCESS = """
import os, signal, sys, time
import jax
from rq_jax.training import interrupts

address, index = sys.argv[1], int(sys.argv[2])
jax.distributed.initialize(address, 2, index)
with interrupts.Interrupts() as signals:
  if index == 0:
    os.kill(os.getpid(), signal.SIGTERM)
  for step in range(1, 1000):
    if signals.requested(step):
      print('stopped after', step)
      break
    time.sleep(0.02)
"""


def test_a_signal_to_one_of_two_processes_stops_both_after_the_same_step():
  with socket.socket() as free:
    free.bind(('localhost', 0))
    address = f'localhost:{free.getsockname()[1]}'
  root = pathlib.Path(__file__).resolve().parents[2]
  processes = [
      subprocess.Popen(
          [sys.executable, '-c', _PROCESS, address, str(index)],
          cwd=root,
          stdout=subprocess.PIPE,
          stderr=subprocess.DEVNULL,
          text=True,
      )
      for index in range(2)
  ]
  try:
    first, second = (p.communicate(timeout=120)[0] for p in processes)
  finally:
    for process in processes:
      process.kill()
  assert first.startswith('stopped after ')
  assert first == second


def test_an_interruption_says_where_and_how_to_go_on():
  error = interrupts.Interrupted(12)
  assert error.step == 12
  assert 'saved at step 12; the same command resumes it' in str(error)
