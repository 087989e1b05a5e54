"""LSUN is read from databases that lmdb writes."""

import concurrent.futures
import hashlib
import multiprocessing
import pickle
import sys

import lmdb
import pytest

from rq_jax.jobs.prepare import lsun
from rq_jax.jobs.prepare import origins
from tests.data import tars


def write(folder, contents):
  """Writes a database as LSUN has it: SHA-1 of the image -> image."""
  folder.mkdir(parents=True, exist_ok=True)
  with (
      lmdb.open(str(folder), map_size=2**24) as environment,
      environment.begin(write=True) as transaction,
  ):
    for content in contents:
      key = hashlib.sha1(content).hexdigest()
      transaction.put(key.encode(), content)
  return folder


def images(kind, *numbers):
  return [tars.picture(number, kind) for number in numbers]


def by_name(contents, ending='webp'):
  """Contents in the order of their keys, by name."""
  named = {hashlib.sha1(c).hexdigest(): c for c in contents}
  return {f'{key}.{ending}': named[key] for key in sorted(named)}


def found(origin):
  return {origin[i].name: origin[i].content for i in range(len(origin))}


def test_both_splits_are_read_in_the_order_of_their_keys(tmp_path):
  train, held_out = images('WEBP', *range(9)), images('JPEG', 1, 2)
  write(tmp_path / 'bedroom_train_lmdb', train)
  write(tmp_path / 'bedroom_val_lmdb', held_out)
  (tmp_path / 'bedroom_train_lmdb.zip').touch()  # Unzipped already.
  opened = lsun.open_splits(str(tmp_path))
  assert list(opened) == ['train', 'validation']
  assert list(found(opened['train']).items()) == list(by_name(train).items())
  assert found(opened['validation']) == by_name(held_out, 'jpg')
  origin = opened['train']
  assert isinstance(origin[0], origins.Raw)
  assert (origin[0].label, origin[0].text) == (None, None)
  assert (origin.num_classes, origin.class_names) == (0, None)
  assert not origin.has_texts
  data = tmp_path / 'bedroom_train_lmdb' / 'data.mdb'
  assert origin.num_bytes == data.stat().st_size


def test_the_listing_follows_the_keys_and_not_the_place(tmp_path):
  for place, numbers in (('a', [1, 2]), ('b', [1, 2]), ('c', [1, 2, 3])):
    write(tmp_path / place, images('WEBP', *numbers))
  one, same, other = (
      lsun.open_splits(str(tmp_path / place))['train'].listing
      for place in 'abc'
  )
  assert one == same != other


def test_one_of_several_categories_is_named_by_its_path(tmp_path):
  for name in ('bedroom', 'tower'):
    write(tmp_path / f'{name}_train_lmdb', images('WEBP', len(name)))
  with pytest.raises(ValueError, match='categories bedroom, tower, and only'):
    lsun.open_splits(str(tmp_path))
  opened = lsun.open_splits(str(tmp_path / 'tower'))
  assert list(opened) == ['train']
  assert found(opened['train']) == by_name(images('WEBP', 5))
  # Objects, such as cats, have one database without a split.
  direct = lsun.open_splits(str(tmp_path / 'tower_train_lmdb'))
  assert found(direct['train']) == found(opened['train'])


def test_threads_and_a_pickled_copy_read_the_same(tmp_path):
  contents = images('WEBP', *range(200))
  origin = lsun.Database(write(tmp_path / 'cat', contents))
  copy = pickle.loads(pickle.dumps(origin))
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    read = list(pool.map(copy.__getitem__, range(200)))
  assert {raw.name: raw.content for raw in read} == by_name(contents)


@pytest.mark.process
def test_another_process_reads_the_same(tmp_path):
  origin = lsun.Database(write(tmp_path / 'cat', images('WEBP', 1, 2)))
  expected = origin[1]  # The database is open in this process now.
  with multiprocessing.get_context('spawn').Pool(1) as pool:
    assert pool.map(origin.__getitem__, [1]) == [expected]


def test_zipped_databases_and_other_folders_are_refused(tmp_path):
  with pytest.raises(ValueError, match='has no folder CATEGORY_train_lmdb/'):
    lsun.open_splits(str(tmp_path))
  for name in ('bedroom_train_lmdb.zip', 'cat.zip'):
    (tmp_path / name).touch()
  for src in (tmp_path, tmp_path / 'bedroom', tmp_path / 'cat'):
    with pytest.raises(ValueError, match='still zipped. Unzip it with `unzip'):
      lsun.open_splits(str(src))


def test_databases_that_are_damaged_or_cut_off_are_refused(tmp_path):
  contents = [bytes([i]) * 50_000 for i in range(20)]
  data = write(tmp_path / 'cat', contents) / 'data.mdb'
  whole = data.read_bytes()
  cut = tmp_path / 'cut'
  cut.mkdir()
  (cut / 'data.mdb').write_bytes(whole[: len(whole) // 2])
  with pytest.raises(ValueError, match=r'cut/data\.mdb is cut off'):
    lsun.Database(cut)
  for i, content in enumerate((b'', b'no database' * 1000)):
    folder = tmp_path / f'damaged{i}'
    folder.mkdir()
    (folder / 'data.mdb').write_bytes(content)
    with pytest.raises(ValueError, match='cannot be read as a database'):
      lsun.Database(folder)


def test_without_lmdb_the_extra_is_named(tmp_path, monkeypatch):
  folder = write(tmp_path / 'cat', images('WEBP', 1))
  monkeypatch.setitem(sys.modules, 'lmdb', None)
  with pytest.raises(ImportError, match=r'rq_jax\[lsun\]'):
    lsun.open_splits(str(folder))
