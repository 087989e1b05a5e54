"""An action that fails in the first process fails in all processes."""

import jax
from jax.experimental import multihost_utils
import numpy as np
import pytest

from rq_jax.distributed import processes


def be(index, count, monkeypatch, *, first_failed=False):
  """Pretends to be one of several processes."""
  told = []

  def broadcast(wrong):
    told.append(bool(wrong))
    return np.array(first_failed or wrong)

  monkeypatch.setattr(jax, 'process_index', lambda: index)
  monkeypatch.setattr(jax, 'process_count', lambda: count)
  monkeypatch.setattr(multihost_utils, 'broadcast_one_to_all', broadcast)
  return told


def fail():
  raise ValueError('no good')


def test_one_process_acts_and_fails_alone(monkeypatch):
  acted = []
  processes.only_first(lambda: acted.append(1))
  assert acted == [1]
  with pytest.raises(ValueError, match='no good'):
    processes.only_first(fail)


def test_the_first_of_several_tells_the_others(monkeypatch):
  told = be(0, 2, monkeypatch)
  processes.only_first(lambda: None)
  with pytest.raises(ValueError, match='no good'):
    processes.only_first(fail)
  with pytest.raises(ZeroDivisionError):  # Of any type.
    processes.only_first(lambda: 1 / 0)
  assert told == [False, True, True]


def test_the_others_do_nothing_and_fail_with_the_first(monkeypatch):
  be(1, 2, monkeypatch)
  processes.only_first(fail)
  be(1, 2, monkeypatch, first_failed=True)
  with pytest.raises(ValueError, match='The first process has stopped'):
    processes.only_first(lambda: None)


def test_processes_wait_only_for_others(monkeypatch):
  waited = []
  monkeypatch.setattr(multihost_utils, 'sync_global_devices', waited.append)
  processes.wait_for_all('here')
  be(0, 2, monkeypatch)
  processes.wait_for_all('there')
  assert waited == ['there']
