"""Fixtures of several tests of jobs: an official archive, encoded caches."""

import numpy as np
import pytest

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.data.feature_cache import layout
from rq_jax.jobs.convert import from_official
from rq_jax.jobs.encode import job as encode
from tests import tiny
from tests.conversion import checkpoints
from tests.jobs import encoding


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


@pytest.fixture
def features_of_the_stand_in(monkeypatch):
  """Lets encoding use the features of the stand-in, without checks."""

  def fail(*_):
    raise AssertionError('The images were looked at.')

  monkeypatch.setattr(tokenizer_lib, 'features_known', encoding.features)
  monkeypatch.setattr(tokenizer_lib.Tokenizer, 'features', fail)


@pytest.fixture
def small_shards(monkeypatch):
  """Shards of a few hundred examples."""
  row = 2 * np.prod(tiny.untrained_tokenizer().model.features_shape)
  monkeypatch.setattr(layout, 'SHARD_BYTES', encoding.SHARD_ROWS * row)


@pytest.fixture
def undisturbed(small_shards, tmp_path):
  """The files of a cache that was encoded without interruption."""
  encode.encode(
      encoding.stand_in(), encoding.data(), str(tmp_path / 'undisturbed')
  )
  return encoding.contents(tmp_path / 'undisturbed')
