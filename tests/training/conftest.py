"""Fixtures of several tests of training."""

import pytest

from rq_jax.training import run
from tests.training import begun_runs


@pytest.fixture
def no_step(monkeypatch):
  """Every refusal comes before any training."""
  begun_runs.begun(2)  # Also its tokenizer; both save their initial weights.

  def fail(*_, **__):
    raise AssertionError('Training began.')

  monkeypatch.setattr(run.loop, 'run', fail)
