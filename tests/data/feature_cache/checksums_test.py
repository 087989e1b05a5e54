"""Damage in a cache is found when it is opened, or when a view is read."""

import json

import numpy as np
import pytest

from rq_jax import hashes
from rq_jax.config import sections
from rq_jax.data import loader
from rq_jax.data.feature_cache import layout
from rq_jax.data.feature_cache import records
from rq_jax.data.sources import features
from tests.data import caches

HEADER = 128
ROW = 2 * 2 * 3 * 4 * 2  # Two views of 2 x 3 x 4 numbers of 2 bytes.


@pytest.fixture
def folder(tmp_path):
  """The training split of a cache of seven examples in two shards."""
  values, labels = caches.examples(7, views=2)
  texts = [f'text {i}' for i in range(7)]
  caches.write(tmp_path, values, labels, 2, texts=texts)
  return tmp_path / 'train'


def flip(file, position, bit=0):
  content = bytearray(file.read_bytes())
  content[position] ^= 1 << bit
  file.write_bytes(content)


def opened(folder):
  return features.Features(folder.parent, 'train')


@pytest.mark.parametrize('bit', range(8))
def test_a_flipped_feature_is_found_when_its_view_is_read(folder, bit):
  file = folder / 'features-00001-of-00002.npy'
  # The second view of the third example of the shard.
  flip(file, HEADER + 2 * ROW + ROW // 2 + 17, bit)
  source = opened(folder)
  damaged = source[5]['features']
  assert len(damaged) == 2 and damaged[0].shape == caches.SHAPE
  words = f'^{file}, row 2, view 1, is damaged: .* encodes only damaged shards'
  for read in (lambda: damaged[1], lambda: np.asarray(damaged)):
    with pytest.raises(ValueError, match=words):
      read()
  for index in (0, 1, 2, 3, 4, 6):
    np.asarray(source[index]['features'])


def test_training_stops_at_a_damaged_view_only(folder):
  flip(folder / 'features-00000-of-00002.npy', HEADER + ROW + 3)  # View 0 of 1.
  data = sections.Data(source='features', path=str(folder.parent))
  transform = loader.image_transform(data, train=False)
  batches = loader.eval_batches(
      opened(folder), transform=transform, batch_size=1
  )
  assert next(batches)['features'].shape == (1, *caches.SHAPE)
  with pytest.raises(ValueError, match='row 1, view 0, is damaged'):
    next(batches)


def test_examples_that_traded_places_are_found(folder):
  file = folder / 'features-00000-of-00002.npy'
  content = file.read_bytes()
  rows = [content[HEADER + ROW * i :][:ROW] for i in range(3)]
  file.write_bytes(content[:HEADER] + rows[1] + rows[0] + rows[2])
  source = opened(folder)
  np.asarray(source[2]['features'])
  for index in (0, 1):
    with pytest.raises(ValueError, match=f'row {index}, view 0, is damaged'):
      np.asarray(source[index]['features'])


@pytest.mark.parametrize(
    'kind', ['label', 'checksum', 'text', 'text_offsets', 'shard']
)
def test_other_files_are_compared_when_the_cache_is_opened(folder, kind):
  suffix = 'json' if kind == 'shard' else 'npy'
  file = folder / f'{kind}-00001-of-00002.{suffix}'
  whole = file.read_bytes()
  flip(file, len(whole) - 4)
  with pytest.raises(ValueError, match=file.name):
    opened(folder)
  file.write_bytes(whole)
  other = folder / f'{kind}-00000-of-00002.{suffix}'
  file.write_bytes(other.read_bytes())
  with pytest.raises(ValueError, match=file.name):
    opened(folder)


def test_a_damaged_header_is_an_error_that_names_the_file(folder):
  flip(folder / 'label-00000-of-00002.npy', 12, 5)
  with pytest.raises(ValueError, match='label-00000-of-00002.npy'):
    opened(folder)


def test_caches_without_checksums_are_read_with_a_remark(folder):
  """Earlier versions wrote neither checksums nor hashes of records."""
  hashed = []
  for file in sorted(folder.glob('shard-*.json')):
    record = json.loads(file.read_text())
    del record['hash']
    for name in list(record['files']):
      if name.startswith('checksum'):
        del record['files'][name]
        (folder / name).unlink()
    file.write_text(json.dumps(record))
    hashed.append(hashes.of_file(file))
  meta = json.loads((folder / 'meta.json').read_text())
  del meta['hash']
  meta['shards'] = hashed
  (folder / 'meta.json').write_text(json.dumps(hashes.seal(meta)))
  source = opened(folder)
  values, _ = caches.examples(7, views=2)
  for i in range(7):
    found = source[i]['features']
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, values[i].astype(np.float16))
  assert len(source.remarks) == 1
  assert 'has no checksums of features' in source.remarks[0]
  split = caches.split(folder.parent, 7, 2, views=2, has_texts=True)
  assert records.finished(split) == {0, 1}


def test_new_caches_need_no_remark(folder):
  assert opened(folder).remarks == ()


def test_the_record_of_another_shard_does_not_count(folder):
  split = caches.split(folder.parent, 7, 2, views=2, has_texts=True)
  first, second = (split.record(shard) for shard in range(2))
  second.write_bytes(first.read_bytes())
  assert records.finished(split) == {0}


def test_shards_are_removed_if_a_file_lacks_its_hash(folder):
  split = caches.split(folder.parent, 7, 2, views=2, has_texts=True)
  assert records.remove_damaged(split) == []
  name = layout.array_name('features', 1, 2)
  flip(folder / name, HEADER + 5)
  assert records.remove_damaged(split) == [name]
  assert records.finished(split) == {0}
