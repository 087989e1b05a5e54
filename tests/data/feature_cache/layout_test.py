"""A split knows its files, which of them exist, and which are not its own."""

import numpy as np
import pytest

from rq_jax.data.feature_cache import layout
from rq_jax.data.feature_cache import records
from tests.data import caches


def names(path):
  return sorted(file.name for file in (path / 'train').iterdir())


def test_shards_have_about_a_gibibyte_each():
  shape = (8, 8, 256)  # 32 KiB: 2**15 examples fill a shard.
  for count, shards in (
      (0, 1),
      (1, 1),
      (2**15, 1),
      (49_000, 1),
      (50_000, 2),
      (1_281_167, 39),  # ImageNet: 39.1 GiB.
  ):
    assert layout.count_shards(count, shape) == shards
  assert layout.count_shards(1_281_167, shape, views=4) == 156


def test_the_rows_of_the_shards_are_all_examples_in_order(tmp_path):
  split = caches.split(tmp_path, 7, 3)
  assert [split.rows(s) for s in range(3)] == [
      range(0, 2),
      range(2, 4),
      range(4, 7),
  ]


def test_a_shard_is_finished_if_all_its_files_are_whole(tmp_path):
  split = caches.split(tmp_path, 5, 5)
  assert records.finished(split) == set()
  caches.write(tmp_path, *caches.examples(5), 5)
  assert records.finished(split) == {0, 1, 2, 3, 4}
  folder = tmp_path / 'train'
  (folder / 'label-00001-of-00005.npy').unlink()
  file = folder / 'features-00002-of-00005.npy'
  file.write_bytes(file.read_bytes()[:-1])
  (folder / 'shard-00003-of-00005.json').unlink()
  (folder / 'shard-00004-of-00005.json').write_text('{"fi')
  assert records.finished(split) == {0}
  assert records.finished(caches.split(tmp_path, 5, 1)) == set()


def test_the_bytes_of_a_shard_are_those_of_its_files(tmp_path):
  caches.write(tmp_path, *caches.examples(5), 2)
  for shard in (0, 1):
    files = (tmp_path / 'train').glob(f'*-0000{shard}-of-00002.npy')
    size = sum(file.stat().st_size for file in files)
    assert caches.split(tmp_path, 5, 2).bytes_of(shard) == size


def test_clearing_removes_all_of_a_cache_but_what_is_kept(tmp_path):
  split = caches.split(tmp_path, 4, 2)
  split.clear()  # There are no files yet.
  caches.write(tmp_path, *caches.examples(4), 2)
  for name in (
      'features-00000-of-00002.npy.partial',
      'features-00001-of-00003.npy',
      'label-00002-of-00003.npy.partial',
      'shard-00001-of-00002.json.0123.partial',
      'shard-00001-of-00003.json',
      'text-00001-of-00003.npy',
      'text_offsets-00001-of-00003.npy',
      'meta.json.0123.partial',
      'notes.txt',  # No writer makes this file.
  ):
    (tmp_path / 'train' / name).write_text('')
  split.clear(keep={1})
  assert names(tmp_path) == [
      'checksum-00001-of-00002.npy',
      'features-00001-of-00002.npy',
      'label-00001-of-00002.npy',
      'notes.txt',
      'shard-00001-of-00002.json',
  ]
  split.clear()
  assert names(tmp_path) == ['notes.txt']


def test_a_remote_cache_is_refused():
  with pytest.raises(ValueError, match='needs a local or mounted folder'):
    caches.split('gs://bucket/cache', 3)


def test_files_begin_as_numpy_begins_them(tmp_path):
  np.save(tmp_path / 'x.npy', np.zeros((3, 1, *caches.SHAPE), np.float16))
  file = caches.split(tmp_path, 3).files(0)[0]
  assert (tmp_path / 'x.npy').read_bytes().startswith(file.header)
  assert (tmp_path / 'x.npy').stat().st_size == file.size
