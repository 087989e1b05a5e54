"""A tiny generator as a checkpoint."""

import pytest

from tests.jobs import generators


@pytest.fixture(scope='session')
def generator(tmp_path_factory):
  """The folder of the checkpoint."""
  path = tmp_path_factory.mktemp('generator')
  generators.export(path)
  return path
