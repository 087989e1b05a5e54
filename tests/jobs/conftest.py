"""Fixtures of the tests of conversion: an archive, and its conversion."""

import pytest

from rq_jax.jobs.convert import from_official
from tests.conversion import checkpoints


@pytest.fixture(scope='session')
def archive(tmp_path_factory):
  """The folder of an archive with both stages."""
  return checkpoints.write_both(tmp_path_factory.mktemp('official'))


@pytest.fixture(scope='session')
def converted(archive):
  """The folder of the converted archive."""
  path = archive.parent / 'converted'
  from_official.from_official(str(archive), str(path))
  return path
