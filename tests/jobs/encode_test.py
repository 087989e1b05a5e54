"""Encoding reserves the space of both splits and leaves nothing by halves."""

import dataclasses
import errno
import json
import os

import numpy as np
import pytest

from rq_jax import files
from rq_jax import tokenizer as tokenizer_lib
from rq_jax.data.sources import digits
from rq_jax.data.sources import features
from rq_jax.data.sources import splits
from rq_jax.jobs import encode
from tests import tiny


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failing(tokenizer_lib.Tokenizer):
  """A tokenizer that encodes so many batches and then no more."""

  left: list[None]

  def features(self, images):
    """Zeros, of the shape of features."""
    if not self.left:
      raise RuntimeError('A device was lost.')
    self.left.pop()
    return np.zeros((len(images), *self.model.features_shape), np.float32)


def failing(batches):
  """A tokenizer that fails after some batches."""
  whole = vars(tiny.untrained_tokenizer())
  fields = {name: whole[name] for name in ('model', 'variables')}
  return Failing(**fields, left=[None] * batches)


def test_no_part_is_left_when_encoding_fails(tmp_path):
  data = tiny.stage1_config(data=dict(batch_size=400)).data
  with pytest.raises(RuntimeError, match='device was lost'):
    encode.encode(failing(2), data, str(tmp_path))
  assert not [
      file
      for file in tmp_path.rglob('*')
      if file.is_file() and file.name != '.lock'
  ]
  # 1438 digits are four batches: the split that was finished stays.
  with pytest.raises(RuntimeError, match='device was lost'):
    encode.encode(failing(4), data, str(tmp_path))
  assert len(features.Features(tmp_path, 'train')) == 1438
  assert not list((tmp_path / 'test').iterdir())


def test_the_cache_records_the_classes_of_the_data(tmp_path):
  data = tiny.stage1_config(data=dict(batch_size=400)).data
  encode.encode(failing(5), data, str(tmp_path))
  for split in splits.SPLITS:
    meta = json.loads((tmp_path / split / 'meta.json').read_text())
    assert meta['num_classes'] == 10
    source = features.Features(tmp_path, split)
    expected = digits.Digits(split)
    for i in (0, len(expected) - 1):
      assert source[i]['label'] == expected[i]['label']


def test_no_room_for_the_last_split_shows_before_the_first_is_encoded(
    tmp_path, monkeypatch
):
  reserve = os.posix_fallocate

  def full(number, start, size):
    if '/cache/test/' in os.readlink(f'/proc/self/fd/{number}'):
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    reserve(number, start, size)

  monkeypatch.setattr(os, 'posix_fallocate', full)
  data = tiny.stage1_config().data
  with pytest.raises(files.DiskFullError, match='test is full.* are needed'):
    encode.encode(failing(0), data, str(tmp_path / 'cache'))
  cache = tmp_path / 'cache'
  assert not [
      file
      for file in cache.rglob('*')
      if file.is_file() and file.name != '.lock'
  ]
