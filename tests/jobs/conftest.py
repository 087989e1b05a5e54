"""What the tests of conversion share: an archive, and what becomes of it."""

import pytest

from rq_jax.jobs.convert import from_official
from tests.conversion import checkpoints


@pytest.fixture(scope='session')
def archive(tmp_path_factory):
  """The folder of an archive with both stages."""
  return checkpoints.write_both(tmp_path_factory.mktemp('official'))


@pytest.fixture(scope='session')
def converted(archive):
  """What it was converted to."""
  path = archive.parent / 'converted'
  from_official.from_official(str(archive), str(path))
  return path
