"""The JSON files describe the cache, and damage to any file is found."""

import hashlib
import json

import numpy as np
import pytest

from rq_jax.data.feature_cache import reader
from rq_jax.data.sources import features
from tests.data import caches

TEXTS = ['a cat', '', 'zwei Hunde äöü', '猫', 'half \ud83d', 'e', 'f\0']


def blake(content):
  return hashlib.blake2b(content, digest_size=16).hexdigest()


def write(path, views=2, texts=TEXTS):
  values, labels = caches.examples(7, views)
  names = tuple(f'class {i}' for i in range(200))
  caches.write(path, values, labels, 2, texts=texts, class_names=names)
  return values


def test_meta_and_records_describe_the_cache(tmp_path):
  values = write(tmp_path)
  folder = tmp_path / 'train'
  meta = json.loads((folder / 'meta.json').read_text())
  seal = meta.pop('hash')
  assert seal == blake(json.dumps(meta, sort_keys=True).encode())
  assert meta.pop('class_names')[7] == 'class 7'
  record_files = sorted(folder.glob('shard-*.json'))
  assert meta.pop('shards') == [blake(f.read_bytes()) for f in record_files]
  rounding = meta.pop('rounding')
  exact, rounded = np.float64(values), np.float64(np.float16(values))
  largest = np.abs(exact - rounded).max()
  assert rounding['largest'] == largest > 0
  np.testing.assert_allclose(
      rounding['relative'], largest / np.sqrt(np.mean(exact**2)), rtol=1e-12
  )
  assert meta == {
      'version': 2,
      'fingerprint': 'abc',
      'shape': [2, 3, 4],
      'dtype': 'float16',
      'views': 2,
      'num_examples': 7,
      'num_classes': 200,
      'texts': True,
      'split': 'train',
  }
  for shard, file in enumerate(record_files):
    recorded = json.loads(file.read_text())['files']
    arrays = {f.name: f for f in folder.glob(f'*-{shard:05d}-of-*.npy')}
    assert recorded.keys() == arrays.keys() and len(arrays) == 5
    for name, array in arrays.items():
      content = array.read_bytes()
      assert recorded[name] == {'bytes': len(content), 'hash': blake(content)}


def test_views_texts_and_names_come_back(tmp_path):
  values = write(tmp_path)
  source = features.Features(tmp_path, 'train')
  assert (source.views, source.has_texts) == (2, True)
  assert source.class_names[199] == 'class 199'
  assert [source.text(i) for i in range(7)] == TEXTS
  for i in range(7):
    found = source[i]['features']
    np.testing.assert_array_equal(found, values[i].astype(np.float16))
    # Not copied: a part of the memory map of the whole shard.
    assert isinstance(found[1], np.memmap) and found[1].base is not None


def test_a_split_of_empty_texts_opens(tmp_path):
  write(tmp_path, texts=[''] * 7)
  assert features.Features(tmp_path, 'train').text(6) == ''


def test_a_flipped_bit_anywhere_is_found(tmp_path):
  write(tmp_path)
  seen = []
  total = reader.verify(tmp_path, seen=seen.append)
  arrays = [f for f in (tmp_path / 'train').iterdir() if f.suffix == '.npy']
  assert total == sum(seen) == sum(file.stat().st_size for file in arrays)
  assert total == reader.array_bytes(tmp_path)
  rng = np.random.default_rng(0)
  for file in sorted((tmp_path / 'train').iterdir()):
    content = file.read_bytes()
    for _ in range(10):
      damaged = bytearray(content)
      damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
      file.write_bytes(damaged)
      with pytest.raises(ValueError, match=f'{file.name}|format version'):
        reader.verify(tmp_path)
    file.write_bytes(content)
  reader.verify(tmp_path)


def test_all_files_that_differ_are_named(tmp_path):
  write(tmp_path)
  folder = tmp_path / 'train'
  (folder / 'label-00000-of-00002.npy').unlink()
  (folder / 'text-00001-of-00002.npy').write_bytes(b'another text')
  with pytest.raises(
      ValueError,
      match='label-00000-of-00002.npy, .*text-00001-of-00002.npy changed since',
  ):
    reader.verify(tmp_path)


def test_a_shard_of_another_cache_is_refused(tmp_path):
  for name in ('one', 'other'):
    (tmp_path / name).mkdir()
    write(tmp_path / name, texts=[name] * 7)
  for file in (tmp_path / 'other' / 'train').glob('*-00001-of-*'):
    (tmp_path / 'one' / 'train' / file.name).write_bytes(file.read_bytes())
  with pytest.raises(ValueError, match='00001-of-00002.json is not the one'):
    features.Features(tmp_path / 'one', 'train')


def test_an_unfinished_or_missing_cache_cannot_be_verified(tmp_path):
  with pytest.raises(ValueError, match="no folder 'train'"):
    reader.verify(tmp_path / 'none')
  write(tmp_path)
  (tmp_path / 'test').mkdir()
  with pytest.raises(ValueError, match='test is unfinished'):
    reader.verify(tmp_path)


def test_the_error_does_not_depend_on_the_batches(tmp_path):
  values, labels = caches.examples(7)
  found = []
  for name, sizes in (('one', (7,)), ('two', (3, 1, 3))):
    (tmp_path / name).mkdir()
    with caches.open_writer(tmp_path / name, 7) as writer:
      for part in np.split(np.arange(7), np.cumsum(sizes)[:-1]):
        writer.write(values[part], labels[part])
      writer.close()
    file = tmp_path / name / 'train' / 'shard-00000-of-00001.json'
    found.append(file.read_bytes())
  assert found[0] == found[1]
