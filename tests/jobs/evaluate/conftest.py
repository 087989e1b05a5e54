"""Networks and images of the tests of evaluations."""

import pytest

from tests.jobs.evaluate import fakes


@pytest.fixture
def fake_networks(monkeypatch):
  """Replaces all networks by the mean colours."""
  with fakes.networks_replaced(monkeypatch):
    yield


@pytest.fixture
def paths(tmp_path):
  """Files of samples and of a reference."""
  return (
      fakes.write(tmp_path / 'a.npz', 100),
      fakes.write(tmp_path / 'b.npz', 90, seed=1),
  )
