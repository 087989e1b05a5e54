"""Datasets that TFDS prepared are read, without TensorFlow."""

import importlib.util
import json
import pathlib
import pickle
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from rq_jax.data import image_files
from rq_jax.data.sources import splits
from rq_jax.data.sources import tfds as source_lib
from tests.data import tfds_datasets

TEXTS = {'caption': tfds.features.Text(), 'file_name': tfds.features.Text()}


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  """A dataset with classes, captions and two splits."""
  more = dict(
      caption=lambda number: f'Picture {number}',
      file_name=lambda number: f'{number}.jpg',
  )
  return tfds_datasets.write(
      tmp_path_factory.mktemp('tfds'),
      {
          'train': tfds_datasets.examples(range(12), **more),
          'validation': tfds_datasets.examples(range(12, 16), **more),
          'test': tfds_datasets.examples(range(16, 18), **more),
      },
      tfds_datasets.FEATURES | TEXTS,
  )


def numbers(source):
  """The numbers in the captions of all examples."""
  return [int(source.text(i).split()[1]) for i in range(len(source))]


@pytest.mark.parametrize(
    ('split', 'expected'), [('train', range(12)), ('test', range(12, 16))]
)
def test_pixels_labels_and_texts_are_those_that_tfds_was_given(
    dataset, split, expected
):
  source = source_lib.Prepared(dataset, split)
  assert sorted(numbers(source)) == list(expected)
  for i, number in enumerate(numbers(source)):
    example = source[i]
    pixels = tfds_datasets.pixels_of(tfds_datasets.picture(number))
    np.testing.assert_array_equal(example['image'], pixels)
    assert example['label'] == number % 3
    assert example['label'].dtype == np.int32


def test_classes_have_the_names_of_the_dataset(dataset):
  source = source_lib.Prepared(dataset)
  assert (source.num_classes, source.has_texts) == (3, True)
  assert source.class_names == ('cat', 'dog', 'owl')


def test_tensorflow_is_never_imported(dataset):
  source_lib.Prepared(dataset)[0]
  assert 'tensorflow' not in sys.modules


def test_one_split_is_divided(tmp_path):
  """Images without classes, in a feature of another name."""
  features = {'photo': tfds.features.Image(), 'number': np.int64}
  given = [
      {'photo': e['image'], 'number': i}
      for i, e in enumerate(tfds_datasets.examples(range(10)))
  ]
  folder = tfds_datasets.write(tmp_path, {'train': given}, features)
  both = tfds.builder_from_directory(folder).as_data_source('train')
  for split in splits.SPLITS:
    source = source_lib.Prepared(folder, split)
    chosen = splits.members(10, split)
    assert len(source) == len(chosen)
    for i, row in enumerate(chosen):
      np.testing.assert_array_equal(source[i]['image'], both[row]['photo'])
    assert (source.num_classes, source.class_names) == (1, None)
    assert source[0]['label'] == 0
    assert not source.has_texts
    with pytest.raises(ValueError, match='has no texts.*text or caption'):
      source.text(0)


def test_a_folder_above_the_only_version_will_do(dataset):
  for above in (dataset.parent, dataset.parent.parent):
    source = source_lib.Prepared(above)
    assert source.listing == source_lib.Prepared(dataset).listing


def test_listings_differ_between_splits_and_datasets(dataset, tmp_path):
  other = tfds_datasets.write(
      tmp_path, {'train': tfds_datasets.examples(range(6))}
  )
  listings = [
      source_lib.Prepared(folder, split).listing
      for folder in (dataset, other)
      for split in splits.SPLITS
  ]
  # Images of the same sizes: only the hashes of the shards differ.
  for sha256 in 'ab':
    (other / 'manifest.json').write_text(f'{{"sha256": "{sha256}"}}')
    listings.append(source_lib.Prepared(other).listing)
  assert len(set(listings)) == 6


def test_a_copy_for_a_worker_opens_the_files_again(dataset):
  reader = image_files.Reader(max_pixels=300)
  source = source_lib.Prepared(dataset, reader=reader)
  copy = pickle.dumps(source)
  assert len(copy) < 1000
  copied = pickle.loads(copy)
  assert numbers(copied) == numbers(source)
  largest = numbers(source).index(11)
  with pytest.raises(image_files.BrokenImageError, match='max_pixels=300'):
    copied[largest]


def test_a_damaged_record_is_named(dataset, tmp_path):
  folder = _copy(dataset, tmp_path)
  file = folder / 'toy-train.array_record-00000-of-00001'
  content = bytearray(file.read_bytes())
  content[1000:40_000] = bytes(39_000)
  file.write_bytes(content)
  source = source_lib.Prepared(folder)
  words = r'toy-train\.array_record-00000-of-00001, record 3 cannot be read'
  with pytest.raises(image_files.BrokenImageError, match=words):
    source[3]


def test_a_broken_image_is_named(tmp_path):
  given = tfds_datasets.examples(range(6), file_name=lambda i: f'{i}.jpg')
  for example in given:
    example['image'] = example['image'].getvalue()[:200]
  folder = tfds_datasets.write(
      tmp_path,
      {'train': given},
      tfds_datasets.FEATURES | {'file_name': tfds.features.Text()},
  )
  words = r'-00000-of-00001, record 5 \(\d\.jpg\) cannot be read'
  with pytest.raises(image_files.BrokenImageError, match=words):
    source_lib.Prepared(folder)[4]  # Record 4 is held out.


def _copy(folder, to):
  for file in folder.iterdir():
    (to / file.name).write_bytes(file.read_bytes())
  return to


def test_records_out_of_range_are_an_error(dataset):
  source = source_lib.Prepared(dataset)
  for index in (-1, 12):
    with pytest.raises(IndexError, match='12 examples'):
      source[index]


def _change_info(folder, **changes):
  file = folder / 'dataset_info.json'
  file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(fileFormat='tfrecord'), 'holds TFRecord files.*TensorFlow'),
        (dict(fileFormat='riegeli'), 'holds riegeli files'),
        (dict(splits=[]), "has no split 'train', only none"),
    ],
)
def test_other_formats_are_refused(dataset, tmp_path, change, words):
  folder = _copy(dataset, tmp_path)
  _change_info(folder, **change)
  with pytest.raises(ValueError, match=words):
    source_lib.Prepared(folder)


def test_the_advice_for_tfrecord_is_a_command_of_tfds(dataset, tmp_path):
  folder = _copy(dataset, tmp_path)
  _change_info(folder, fileFormat='tfrecord')
  with pytest.raises(ValueError) as error:
    source_lib.Prepared(folder)
  program, command, *flags = str(error.value).split('`')[1].split()
  assert (program, command) == ('tfds', 'convert_format')
  # The command itself can be imported only with TensorFlow.
  module = 'tensorflow_datasets.scripts.cli.convert_format'
  code = pathlib.Path(importlib.util.find_spec(module).origin).read_text()
  for flag in flags:
    assert f"\n  {flag.removeprefix('--').partition('=')[0]}: " in code
  assert f'--dataset_version_dir={folder}' in flags


def test_missing_and_unclear_folders_are_refused(dataset, tmp_path):
  cases = {
      None: 'is not a folder',
      tmp_path / 'none': 'is not a folder',
      tmp_path: 'has no dataset_info.json. Prepare one',
  }
  for path, words in cases.items():
    with pytest.raises(ValueError, match=words):
      source_lib.Prepared(path)
  (tmp_path / 'job.json').touch()
  with pytest.raises(ValueError, match='is unfinished'):
    source_lib.Prepared(tmp_path)
  for name in 'ab':
    (tmp_path / name).mkdir()
    _copy(dataset, tmp_path / name)
  with pytest.raises(ValueError, match='contains 2 datasets.*/a, .*/b'):
    source_lib.Prepared(tmp_path)
  (tmp_path / 'a' / 'toy-train.array_record-00000-of-00001').unlink()
  with pytest.raises(ValueError, match='1 of 1 files .*are missing'):
    source_lib.Prepared(tmp_path / 'a')
  (tmp_path / 'b' / 'features.json').write_text('{')
  with pytest.raises(ValueError, match='cannot be opened as a dataset'):
    source_lib.Prepared(tmp_path / 'b')


@pytest.mark.parametrize(
    ('features', 'words'),
    [
        ({'number': np.int64}, 'has no images: its features are number'),
        (
            {'left': tfds.features.Image(), 'right': tfds.features.Image()},
            "several features of the type Image: left, right.*named 'image'",
        ),
    ],
)
def test_features_that_do_not_fit_are_named(tmp_path, features, words):
  example = {
      name: 1 if feature is np.int64 else tfds_datasets.picture(0)
      for name, feature in features.items()
  }
  folder = tfds_datasets.write(tmp_path, {'train': [example] * 5}, features)
  with pytest.raises(ValueError, match=words):
    source_lib.Prepared(folder)
