"""A folder to prepare."""

import pytest

from rq_jax.data.prepared import shards
from tests.jobs.prepare import folders


@pytest.fixture
def images(tmp_path, monkeypatch):
  """A folder of images, which takes several shards."""
  monkeypatch.setattr(shards, 'SHARD_BYTES', folders.SHARD_BYTES)
  folders.write(tmp_path / 'images')
  return tmp_path / 'images'
