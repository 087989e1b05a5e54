"""A writer reserves its space, and leaves whole files or no files."""

import contextlib
import errno
import io
import json
import os
import re
import subprocess
import zlib

import numpy as np
import pytest

from rq_jax import files
from rq_jax.data.feature_cache import records
from rq_jax.data.sources import features
from tests.data import caches


def _write(path, count):
  caches.write(path, *caches.examples(count))


def _names(path):
  return sorted(file.name for file in (path / 'train').iterdir())


_WHOLE = [
    'checksum-00000-of-00001.npy',
    'features-00000-of-00001.npy',
    'label-00000-of-00001.npy',
    'meta.json',
    'shard-00000-of-00001.json',
]


def crc32(values):
  return [zlib.crc32(value.astype(np.float16).tobytes()) for value in values]


@pytest.mark.parametrize('count', [0, 1, 5])
def test_files_are_those_that_numpy_saves(tmp_path, count):
  values, labels = caches.examples(count)
  with caches.open_writer(tmp_path, count) as writer:
    for row in range(count):
      writer.write(values[row : row + 1], labels[row : row + 1])
    writer.close()
  assert _names(tmp_path) == [*_WHOLE[:3], _WHOLE[4]]
  for name, array in (
      ('features', values.astype(np.float16)),
      ('label', labels.astype(np.int32)),
      ('checksum', np.array(crc32(values), np.uint32).reshape(count, 1)),
  ):
    expected = io.BytesIO()
    np.save(expected, array)
    file = tmp_path / 'train' / f'{name}-00000-of-00001.npy'
    assert file.read_bytes() == expected.getvalue()


def test_the_space_of_a_shard_is_taken_when_it_is_opened(tmp_path):
  with caches.open_writer(tmp_path, 1000):
    # 24 numbers of 2 bytes each, and a header of 128 bytes.
    file = tmp_path / 'train' / 'features-00000-of-00001.npy.partial'
    assert file.stat().st_size == 48_128
    assert file.stat().st_blocks * 512 >= 48_128
  assert not _names(tmp_path)


@pytest.mark.parametrize('later', [0, 1, 2])
def test_a_disk_without_room_is_named_before_anything_is_written(
    tmp_path, monkeypatch, later
):
  """The disk is full at any of three files; no file is left behind."""
  reserve, done = os.posix_fallocate, []

  def full(*asked):
    if len(done) == later:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    done.append(asked)
    reserve(*asked)

  _write(tmp_path, 4)
  monkeypatch.setattr(os, 'posix_fallocate', full)
  with pytest.raises(files.DiskFullError) as error:
    caches.open_writer(tmp_path, 1000)
  # 48128 and 4128 bytes.
  assert re.match(
      f'The disk of {tmp_path}/train is full, or your quota .* are free on it,'
      ' and 56.4 kB are needed',
      str(error.value),
  )
  assert not _names(tmp_path)
  monkeypatch.undo()
  _write(tmp_path, 4)
  assert _names(tmp_path) == _WHOLE


@pytest.mark.parametrize('number', [errno.EOPNOTSUPP, errno.EINVAL])
def test_file_systems_that_reserve_nothing_are_written_to(
    tmp_path, monkeypatch, number
):
  def unable(*_):
    raise OSError(number, os.strerror(number))

  monkeypatch.setattr(os, 'posix_fallocate', unable)
  _write(tmp_path, 4)
  values, _ = caches.examples(4)
  stored = features.Features(tmp_path, 'train')[3]['features']
  np.testing.assert_array_equal(stored, values[3].astype(np.float16))
  monkeypatch.delattr(os, 'posix_fallocate')  # As on macOS.
  _write(tmp_path, 5)
  assert len(features.Features(tmp_path, 'train')) == 5


@pytest.fixture
def small_disk(tmp_path):
  """A folder on a disk of 1 MiB; skips if this process may not mount one."""
  folder = tmp_path / 'disk'
  folder.mkdir()
  mount = ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', str(folder)]
  try:
    made = subprocess.run(mount, capture_output=True).returncode == 0
  except FileNotFoundError:
    made = False
  if not made:
    pytest.skip('This process may not mount a file system.')
  yield folder
  subprocess.run(['umount', str(folder)], check=True)


@pytest.mark.process
@pytest.mark.parametrize('noticed', ['reserved', 'compared', 'written'])
def test_a_full_disk_ends_no_program_and_keeps_no_part(
    small_disk, monkeypatch, noticed
):
  if noticed != 'reserved':
    monkeypatch.delattr(os, 'posix_fallocate')
  if noticed == 'written':  # As if another program had taken the space since.
    monkeypatch.setattr(files, 'require_space', lambda *_: None)
  count = 30_000  # 1.68 MB.
  values, labels = np.zeros((1000, 1, *caches.SHAPE)), np.zeros(1000, int)
  with (
      pytest.raises(files.DiskFullError, match='1.0 MB are free, and 1.7 MB'),
      caches.open_writer(small_disk, count) as writer,
  ):
    assert noticed == 'written'
    for _ in range(count // 1000):
      writer.write(values, labels)
  assert not _names(small_disk)
  _write(small_disk, 15_000)  # 0.84 MB.
  # There is no room for both, so this must remove the shard before.
  _write(small_disk, 15_000)
  assert _names(small_disk) == _WHOLE


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_what_ends_writing_leaves_no_files(tmp_path, error):
  with pytest.raises(error), caches.open_writer(tmp_path, 4) as writer:
    values, labels = caches.examples(2)
    writer.write(values, labels)
    raise error
  assert not _names(tmp_path)


def test_a_writer_replaces_its_own_shard_only(tmp_path):
  values, labels = caches.examples(4)
  caches.write(tmp_path, values, labels, 2)
  folder = tmp_path / 'train'
  other = (folder / 'features-00000-of-00002.npy').read_bytes()
  with caches.open_writer(tmp_path, 4, 1, 2) as writer:
    assert _names(tmp_path) == [
        'checksum-00000-of-00002.npy',
        'checksum-00001-of-00002.npy.partial',
        'features-00000-of-00002.npy',
        'features-00001-of-00002.npy.partial',
        'label-00000-of-00002.npy',
        'label-00001-of-00002.npy.partial',
        'shard-00000-of-00002.json',
    ]
    writer.write(values[2:] + 1, labels[2:])
    writer.close()
  records.finish(caches.split(tmp_path, 4, 2))
  assert (folder / 'features-00000-of-00002.npy').read_bytes() == other
  stored = features.Features(tmp_path, 'train')[3]['features']
  np.testing.assert_array_equal(stored, (values[3] + 1).astype(np.float16))


def test_thousands_of_writers_may_wait_at_a_time(tmp_path):
  before = len(os.listdir('/proc/self/fd'))
  with contextlib.ExitStack() as stack:
    for shard in range(5):
      stack.enter_context(caches.open_writer(tmp_path, 5, shard, 5))
    assert len(os.listdir('/proc/self/fd')) == before
    assert len(_names(tmp_path)) == 15
  assert not _names(tmp_path)


@pytest.mark.parametrize('label', [-1, 5, 2**32])
def test_labels_that_are_no_class_are_refused(tmp_path, label):
  values, _ = caches.examples(3)
  with caches.open_writer(tmp_path, 3, num_classes=5) as writer:
    with pytest.raises(
        ValueError, match=f'A label is {label}, but .* 5 classes'
    ):
      writer.write(values, np.array([0, label, 4]))
    with pytest.raises(ValueError, match='The labels are float64'):
      writer.write(values, np.array([0.0, 1.5, 2.0]))
    writer.write(values, np.array([0, 3, 4]))
    writer.close()
  records.finish(caches.split(tmp_path, 3, num_classes=5))
  meta = json.loads((tmp_path / 'train' / 'meta.json').read_text())
  assert meta['num_classes'] == 5
  assert features.Features(tmp_path, 'train')[2]['label'] == 4


@pytest.mark.parametrize(
    'value', [7e4, -7e4, np.inf, np.nan], ids=['large', 'low', 'inf', 'nan']
)
def test_values_that_float16_cannot_hold_are_refused(tmp_path, value):
  values, labels = caches.examples(2)
  values[1, 0, 0, 2, 3] = value
  with caches.open_writer(tmp_path, 2) as writer:
    with pytest.raises(ValueError, match='is not finite in float16'):
      writer.write(values, labels)
    values[1, 0, 0, 2, 3] = 65504
    writer.write(values, labels)
    writer.close()
  records.finish(caches.split(tmp_path, 2))
  stored = features.Features(tmp_path, 'train')[1]['features']
  assert stored[0][0, 2, 3] == 65504


def test_a_writer_refuses_other_shapes_and_surplus_examples(tmp_path):
  values, labels = caches.examples(4)
  with caches.open_writer(tmp_path, 3) as writer:
    with pytest.raises(
        ValueError, match=r'\[4, 1, 2, 3, 3\] and labels \[4\] d'
    ):
      writer.write(values[..., :3], labels)
    with pytest.raises(ValueError, match=r'labels \[3\]'):
      writer.write(values, labels[:3])
    with pytest.raises(ValueError, match='4 examples .* opened for 3'):
      writer.write(values, labels)
  with pytest.raises(ValueError, match=r'shard=2 must be in \[0, 2\)'):
    caches.open_writer(tmp_path, 3, shard=2, num_shards=2)
