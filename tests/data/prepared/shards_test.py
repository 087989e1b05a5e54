"""Shards cover all rows once, and are verified before they get their names."""

from array_record.python import array_record_module
import pytest

from rq_jax import files
from rq_jax.data.prepared import shards


def split(tmp_path, rows=10, count=3):
  return shards.Split(
      folder=tmp_path, dataset='toy', name='train', num_rows=rows,
      num_shards=count,
  )  # fmt: skip


@pytest.mark.parametrize(('rows', 'count'), [(10, 3), (7, 7), (1, 1), (100, 9)])
def test_shards_cover_all_rows_once(tmp_path, rows, count):
  found = split(tmp_path, rows, count)
  covered = [list(found.rows(number)) for number in range(count)]
  assert sum(covered, []) == list(range(rows))
  lengths = {len(one) for one in covered}
  assert max(lengths) - min(lengths) <= 1


def test_the_number_of_shards_follows_from_the_bytes(monkeypatch):
  assert shards.count(100, 0) == 1
  assert shards.count(100, 3 * shards.SHARD_BYTES) == 3
  assert shards.count(2, 3 * shards.SHARD_BYTES) == 2  # None is empty.
  # ImageNet's training images.
  assert 250 <= shards.count(1_281_167, 146_000_000_000) <= 300


def test_a_shard_has_a_temporary_name_until_it_is_closed(tmp_path):
  file = split(tmp_path).file(1)
  assert file.name == 'toy-train.array_record-00001-of-00003'
  with shards.writing(file) as writer:
    writer.write(b'one')
    assert not file.exists()
    written = writer.close()
  assert (written.examples, written.content_bytes) == (1, 3)
  assert file.stat().st_size == written.file_bytes
  assert list(tmp_path.iterdir()) == [file]


def test_every_record_can_be_read_without_its_neighbours(tmp_path):
  with shards.writing(tmp_path / 'x') as writer:
    for i in range(5):
      writer.write(bytes([i]))
    writer.close()
  reader = array_record_module.ArrayRecordReader(str(tmp_path / 'x'))
  options = reader.writer_options_string()
  assert 'group_size:1,' in options and 'uncompressed' in options
  assert [reader.read([i])[0] for i in (3, 0)] == [b'\3', b'\0']
  reader.close()


def test_an_error_leaves_nothing_behind(tmp_path):
  with pytest.raises(KeyError), shards.writing(tmp_path / 'x') as writer:
    writer.write(b'one')
    raise KeyError
  assert not list(tmp_path.iterdir())


def test_an_empty_shard_can_be_read_back(tmp_path):
  with shards.writing(tmp_path / 'x') as writer:
    assert writer.close().examples == 0


def test_another_content_is_found_when_it_is_read_back(tmp_path):
  """Here, one record is lost."""
  words = 'with 2 records, but other contents'
  with (
      pytest.raises(OSError, match=words),
      shards.writing(tmp_path / 'x') as writer,
  ):
    writer.write(b'one')
    writer._digest.add(b'two')
    writer.close()
  assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named(tmp_path, monkeypatch):
  def full(*_):
    raise RuntimeError('write() failed: No space left on device')

  with (
      pytest.raises(files.DiskFullError, match='disk of .*/x is full'),
      shards.writing(tmp_path / 'x') as writer,
  ):
    monkeypatch.setattr(writer, 'write', full)
    writer.write(b'one')
  assert not list(tmp_path.iterdir())
