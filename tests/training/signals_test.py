"""A sample of the signals that `drills/signals_test.py` tries."""

import pytest

from tests.training import signalled

pytestmark = pytest.mark.process


def test_a_run_gets_three_signals_while_it_saves_and_resumes(tmp_path):
  signalled.check(
      tmp_path, count=1, names=['SIGUSR1', 'SIGTERM', 'SIGINT'], moment='save'
  )
