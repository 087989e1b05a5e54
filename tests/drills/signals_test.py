"""Signals at every moment of a run, in one process and in two.

Every run must end with 75 soon after the signal, and the next start must resume
it. One kind of signal and moment is tried in the usual tests, see
`training/signals_test.py`. On a busy machine, runs may end too late.
"""

import pytest

from tests.training import signalled

pytestmark = [pytest.mark.drill, pytest.mark.process]

# Seconds from the last signal to the end. The steps of these runs take 0.3 s.
LIMIT = 5.3


@pytest.mark.parametrize('count', [1, 2])
@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT', 'SIGUSR1', 'SIGHUP'])
@pytest.mark.parametrize('moment', signalled.MOMENTS)
def test_a_signal_ends_a_run_with_75_and_it_resumes(
    count, name, moment, tmp_path
):
  took = signalled.check(tmp_path, count=count, names=[name], moment=moment)
  assert took <= LIMIT


@pytest.mark.parametrize('count', [1, 2])
@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT', 'SIGUSR1', 'SIGHUP'])
def test_a_second_and_a_third_signal_change_nothing(count, name, tmp_path):
  names = [name, 'SIGTERM', name]
  took = signalled.check(tmp_path, count=count, names=names, moment='step')
  assert took <= LIMIT + len(names) * signalled.APART
