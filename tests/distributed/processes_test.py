"""An action that fails in one process fails in all processes."""

import jax
from jax.experimental import multihost_utils
import numpy as np
import pytest

from rq_jax.distributed import processes


def be(index, count, monkeypatch, *, failed=()):
  """Pretends to be one of several processes, some of which fail."""
  told = []

  def gather(wrong):
    told.append(bool(wrong))
    return np.array([i in failed or i == index and wrong for i in range(count)])

  monkeypatch.setattr(jax, 'process_index', lambda: index)
  monkeypatch.setattr(jax, 'process_count', lambda: count)
  monkeypatch.setattr(multihost_utils, 'process_allgather', gather)
  return told


def fail():
  raise ValueError('no good')


@pytest.mark.parametrize('act', [processes.only_first, processes.together])
def test_one_process_acts_and_fails_alone(act):
  acted = []
  act(lambda: acted.append(1))
  assert acted == [1]
  with pytest.raises(ValueError, match='no good'):
    act(fail)


@pytest.mark.parametrize('act', [processes.only_first, processes.together])
def test_the_first_of_several_tells_the_others(act, monkeypatch):
  told = be(0, 2, monkeypatch)
  act(lambda: None)
  with pytest.raises(ValueError, match='no good'):
    act(fail)
  with pytest.raises(ZeroDivisionError):  # Of any type.
    act(lambda: 1 / 0)
  assert told == [False, True, True]


def test_the_others_do_nothing_and_fail_with_the_first(monkeypatch):
  be(1, 2, monkeypatch)
  processes.only_first(fail)
  be(1, 2, monkeypatch, failed=[0])
  with pytest.raises(ValueError, match='The first process has stopped'):
    processes.only_first(lambda: None)


def test_an_action_of_all_fails_with_any_of_them(monkeypatch):
  be(0, 3, monkeypatch, failed=[2])
  acted = []
  with pytest.raises(ValueError, match='Process 2 has stopped. Its message'):
    processes.together(lambda: acted.append(1))
  assert acted == [1]
  with pytest.raises(ValueError, match='no good'):  # Its own error.
    processes.together(fail)


def test_processes_wait_only_for_others(monkeypatch):
  waited = []
  monkeypatch.setattr(multihost_utils, 'sync_global_devices', waited.append)
  processes.wait_for_all('here')
  be(0, 2, monkeypatch)
  processes.wait_for_all('there')
  assert waited == ['there']


def test_errors_of_jax_reveal_that_another_process_has_stopped(monkeypatch):
  lost = RuntimeError(
      'UNKNOWN: Gloo AllGather failed: [external/gloo/gloo/transport/tcp/'
      'pair.cc:547] Connection closed by peer [127.0.0.1]:32923'
  )
  assert not processes.is_lost(lost)  # There is only one process.
  be(0, 2, monkeypatch)
  monkeypatch.setattr(jax.distributed, 'is_initialized', lambda: True)
  assert processes.is_lost(lost)
  # Of an array that could not be computed, read later.
  assert processes.is_lost(ValueError(*lost.args))
  assert not processes.is_lost(ValueError('Connection reset by peer'))
  assert not processes.is_lost(RuntimeError('RESOURCE_EXHAUSTED: Out of me'))
  # Of a bucket, for example.
  assert not processes.is_lost(OSError(104, 'Connection reset by peer'))
  # The error of a save may have it as its cause.
  failed = OSError('A checkpoint could not be saved.')
  assert not processes.is_lost(failed)
  failed.__cause__ = lost
  assert processes.is_lost(failed)
