"""The cache returns what was written, and damaged or unfinished caches fail."""

import json
import pickle

import numpy as np
import pytest

from rq_jax.data.feature_cache import records
from rq_jax.data.sources import features
from tests.data import caches


def _write(path, count, num_shards=1, **fields):
  values, labels = caches.examples(count)
  caches.write(path, values, labels, num_shards, **fields)
  return values, labels


@pytest.mark.parametrize('num_shards', [1, 3, 9])
def test_what_was_written_comes_back_in_order_in_float16(tmp_path, num_shards):
  # With nine shards, two are empty.
  values, labels = _write(tmp_path, 7, num_shards)
  source = features.Features(tmp_path, 'train')
  assert (len(source), source.shape, source.fingerprint) == (
      7,
      caches.SHAPE,
      'abc',
  )
  for i in range(7):
    example = source[i]
    assert example['features'].dtype == np.float16
    assert example['label'].dtype == np.int32
    expected = values[i].astype(np.float16)
    np.testing.assert_array_equal(example['features'], expected)
    assert example['label'] == labels[i]
  for index in (-1, 7):
    with pytest.raises(IndexError):
      source[index]


def test_a_pickled_source_is_a_path_not_a_copy(tmp_path):
  values, _ = _write(tmp_path, 50)
  source = features.Features(tmp_path, 'train')
  pickled = pickle.dumps(source)
  assert len(pickled) < 500
  np.testing.assert_array_equal(
      pickle.loads(pickled)[9]['features'], values[9].astype(np.float16)
  )


def test_a_missing_cache_names_the_command_that_writes_one(tmp_path):
  for path in (None, tmp_path / 'none', tmp_path):
    with pytest.raises(ValueError, match='python -m rq_jax encode'):
      features.Features(path, 'train')
  with pytest.raises(ValueError, match='needs a local or mounted folder'):
    features.Features('gs://bucket/cache', 'train')


def test_an_interrupted_encode_is_refused_until_it_is_repeated(tmp_path):
  values, labels = caches.examples(4)
  with caches.open_writer(tmp_path, 4) as writer:
    writer.write(values[:3], labels[:3])
    with pytest.raises(ValueError, match='unfinished'):
      features.Features(tmp_path, 'train')
    with pytest.raises(ValueError, match='3 examples .* opened for 4'):
      writer.close()
  assert not list((tmp_path / 'train').iterdir())
  _write(tmp_path, 4)
  assert len(features.Features(tmp_path, 'train')) == 4
  assert not list(tmp_path.glob('train/*.partial'))


def test_opening_a_writer_voids_the_finished_split(tmp_path):
  _write(tmp_path, 4)
  with (
      caches.open_writer(tmp_path, 4, fingerprint='other'),
      pytest.raises(ValueError, match='unfinished'),
  ):
    features.Features(tmp_path, 'train')


def test_a_split_with_a_missing_shard_cannot_be_finished(tmp_path):
  values, labels = caches.examples(4)
  with caches.open_writer(tmp_path, 4, shard=0, num_shards=2) as writer:
    writer.write(values[:2], labels[:2])
    writer.close()
  with pytest.raises(ValueError, match=r'lacks the shards \[1\] of 2'):
    records.finish(caches.split(tmp_path, 4, 2))
  with pytest.raises(ValueError, match='unfinished'):
    features.Features(tmp_path, 'train')


@pytest.mark.parametrize('name', ['features', 'label'])
@pytest.mark.parametrize('size', [0, 60, -1])
def test_a_truncated_shard_is_named(tmp_path, name, size):
  _write(tmp_path, 4, 2)
  file = tmp_path / 'train' / f'{name}-00001-of-00002.npy'
  content = file.read_bytes()[:size]
  file.write_bytes(content)
  message = f'{file.name} has {len(content)} bytes, but should have '
  with pytest.raises(ValueError, match=message):
    features.Features(tmp_path, 'train')


def test_a_shard_of_another_shape_is_named(tmp_path):
  _write(tmp_path, 4)
  file = tmp_path / 'train' / 'features-00000-of-00001.npy'
  np.save(file, np.zeros((2, 2, *caches.SHAPE), np.float16))  # As many bytes.
  with pytest.raises(
      ValueError, match=r'float16\[2, 2, .*float16\[4, 1, 2, 3, 4\]'
  ):
    features.Features(tmp_path, 'train')


def test_another_version_is_refused(tmp_path):
  _write(tmp_path, 4)
  file = tmp_path / 'train' / 'meta.json'
  file.write_text(file.read_text().replace('"version": 2', '"version": 3'))
  with pytest.raises(ValueError, match='version 3, .* the versions 1 to 2'):
    features.Features(tmp_path, 'train')


def test_features_of_another_tokenizer_are_refused(tmp_path):
  _write(tmp_path, 4, fingerprint='abc')
  features.check_fingerprint(tmp_path, 'abc')
  with pytest.raises(ValueError, match='encoded by tokenizer abc, not xyz'):
    features.check_fingerprint(tmp_path, 'xyz')
  for path in (None, tmp_path / 'none'):
    with pytest.raises(ValueError, match='python -m rq_jax encode'):
      features.check_fingerprint(path, 'abc')


def _edit_meta(path, **changes):
  """Sets fields of the meta file; a value of None removes the field."""
  file = path / 'train' / 'meta.json'
  meta = json.loads(file.read_text()) | changes
  kept = {name: value for name, value in meta.items() if value is not None}
  file.write_text(json.dumps(kept))


def test_a_damaged_meta_file_is_named_with_what_it_lacks(tmp_path):
  _write(tmp_path, 4)
  file = tmp_path / 'train' / 'meta.json'
  _edit_meta(tmp_path, shape=None, shards=None)
  with pytest.raises(
      ValueError, match=r'meta\.json is damaged: it lacks shape, s'
  ):
    features.Features(tmp_path, 'train')
  for text in ('[]', '{}', '3'):
    file.write_text(text)
    with pytest.raises(
        ValueError, match=r'meta\.json is damaged: it has no format version'
    ):
      features.check_fingerprint(tmp_path, 'abc')
  for text in ('', '{"version": 1,'):
    file.write_text(text)
    with pytest.raises(
        ValueError, match=r'meta\.json is damaged: it cannot be'
    ):
      features.Features(tmp_path, 'train')
