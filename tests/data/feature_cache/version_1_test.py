"""Caches of version 1 open as they did."""

import pickle

import numpy as np
import pytest

from rq_jax.data import loader
from rq_jax.data.feature_cache import reader
from rq_jax.data.sources import features
from tests.data import caches


def write(path, count=7, bounds=(0, 2, 4, 7), **changes):
  """Writes a training split of version 1; returns its features and labels."""
  values, labels = caches.examples(count)
  values = values[:, 0].astype(np.float16)  # [n, H, W, C]
  fields = dict(fingerprint='abc', num_classes=200) | changes
  caches.write_version_1(path, values, labels, bounds, **fields)
  return values, labels


def test_it_opens_with_one_view_and_without_names_and_texts(tmp_path):
  values, labels = write(tmp_path)
  source = features.Features(tmp_path, 'train')
  assert (len(source), source.shape, source.views) == (7, caches.SHAPE, 1)
  assert (source.fingerprint, source.num_classes) == ('abc', 200)
  assert (source.class_names, source.has_texts) == (None, False)
  for i in range(7):
    example = source[i]
    np.testing.assert_array_equal(example['features'], values[i][None])
    assert example['label'] == labels[i]
  with pytest.raises(ValueError, match='has no texts'):
    source.text(0)


def test_its_batches_are_those_of_a_new_cache(tmp_path):
  (tmp_path / 'old').mkdir()
  write(tmp_path / 'old')
  caches.write(tmp_path / 'new', *caches.examples(7))

  def batches(path):
    options = dict(batch_size=4, seed=3, transform=loader.ViewTransform(True))
    made = loader.train_batches(features.Features(path, 'train'), **options)
    return [next(made) for _ in range(4)]

  for old, new in zip(batches(tmp_path / 'old'), batches(tmp_path / 'new')):
    assert old['features'].dtype == np.float32
    for name in ('features', 'label'):
      np.testing.assert_array_equal(old[name], new[name])


def test_its_classes_are_those_recorded_or_else_those_of_the_labels(tmp_path):
  write(tmp_path, num_classes=None)  # As the first of these caches.
  source = features.Features(tmp_path, 'train')
  assert source.num_classes == 107
  assert pickle.loads(pickle.dumps(source)).num_classes == 107
  file = tmp_path / 'train' / 'label-00001-of-00003.npy'
  np.save(file, np.array([0, -1], np.int32))
  with pytest.raises(ValueError, match='train holds the label -1, but labels '):
    features.Features(tmp_path, 'train')


def test_one_without_examples_has_no_classes(tmp_path):
  write(tmp_path, 0, (0, 0), num_classes=None)
  assert features.Features(tmp_path, 'train').num_classes == 0


@pytest.mark.parametrize('name', ['features', 'label'])
def test_a_truncated_shard_is_named(tmp_path, name):
  write(tmp_path)
  file = tmp_path / 'train' / f'{name}-00001-of-00003.npy'
  file.write_bytes(file.read_bytes()[:-1])
  with pytest.raises(
      ValueError, match=f'{file.name} holds .* bytes that are not a valid array'
  ):
    features.Features(tmp_path, 'train')


def test_it_has_no_hashes_to_compare(tmp_path):
  write(tmp_path)
  with pytest.raises(ValueError, match='version 1, which holds no hashes'):
    reader.verify(tmp_path)
