"""Tests that start a process are marked, and no others can start one."""

import importlib
import subprocess

import pytest

from tests import processes


def _run():
  subprocess.run(['true'], check=True)


class _Lookalike:
  """An object whose methods have names that also start processes."""

  def _run(self):
    pass


def test_what_starts_a_process_is_found_through_other_functions():
  def by_another_function():
    return [_run() for _ in range(2)]

  def by_our_own_module():
    return processes.start('')

  def by_a_lookalike():
    _Lookalike()._run()

  assert processes.are_started_by(by_another_function)
  assert processes.are_started_by(by_our_own_module)
  assert not processes.are_started_by(by_a_lookalike)


def test_a_test_that_is_not_marked_cannot_start_one():
  # The check does not recognise the module under this name.
  unseen = importlib.import_module('subprocess')
  with pytest.raises(pytest.fail.Exception, match='pytest.mark.process'):
    unseen.run(['true'])
