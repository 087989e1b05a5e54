"""Signals of programs that tests start."""

import signal

import pytest


@pytest.fixture(autouse=True)
def not_ignored():
  """Resets signals that the tests were started to ignore."""
  before = {
      number: signal.signal(number, signal.SIG_DFL)
      for number in (signal.SIGINT, signal.SIGHUP)
  }
  yield
  for number, handler in before.items():
    signal.signal(number, handler)
