"""Only tests that are marked `process` can start a process."""

import multiprocessing
import subprocess

import pytest


def _starts():
  """Ways to start a process, each of which must be refused."""
  return (
      lambda: subprocess.run(['true'], check=True),
      multiprocessing.Process(target=int).start,
      multiprocessing.get_context('spawn').Process(target=int).start,
  )


@pytest.fixture(scope='module')
def refused_in_a_fixture():
  """Errors of attempts in a fixture that is set up before any other."""
  found = []
  for start in _starts():
    with pytest.raises(pytest.fail.Exception) as error:
      start()
    found.append(str(error.value))
  return found


def test_a_test_that_is_not_marked_cannot_start_one(refused_in_a_fixture):
  refusal = 'This test starts a process: mark it with pytest.mark.process.'
  assert refused_in_a_fixture == [refusal] * 3
  for start in _starts():
    with pytest.raises(pytest.fail.Exception, match='pytest.mark.process'):
      start()


@pytest.mark.process
def test_a_test_that_is_marked_can_start_one():
  assert subprocess.run(['true'], check=True).returncode == 0
