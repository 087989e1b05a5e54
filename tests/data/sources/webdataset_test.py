"""The source `webdataset` reads images, labels and texts from tar files."""

import json
import os
import tarfile

import numpy as np
import pytest

from rq_jax.config import sections
from rq_jax.data import image_files
from rq_jax.data import sources
from rq_jax.data.sources import webdataset
from tests.data import tars


def numbers(source):
  return [int(source[i]['image'][0, 0, 0]) for i in range(len(source))]


def labels(source):
  return [int(source[i]['label']) for i in range(len(source))]


def both(path):
  return [webdataset.WebDataset(path, split) for split in ('train', 'test')]


def test_splits_by_name_share_the_classes_of_all_labels(tmp_path):
  for name, range_ in (
      ('x-train-1', range(3, 6)),
      ('x-train-0', range(3)),
      ('x-val-0', range(7, 9)),
  ):
    tars.write_samples(
        tmp_path / f'{name}.tar', range_, cls=lambda n: n % 8, txt=str
    )
  train, test = both(tmp_path)
  assert (numbers(train), labels(train)) == ([*range(6)], [*range(6)])
  assert (numbers(test), labels(test)) == ([7, 8], [7, 0])
  assert train.num_classes == test.num_classes == 8
  assert train.class_names is None
  example = train[0]
  assert (example['image'].dtype, example['image'].shape) == (
      np.uint8,
      (4, 6, 3),
  )
  assert (example['label'].dtype, np.shape(example['label'])) == (np.int32, ())
  assert train.has_texts
  assert [train.text(i) for i in range(6)] == list('012345')


@pytest.mark.parametrize('style', [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_without_splits_every_fifth_sample_is_held_out(tmp_path, style):
  folder = 'a_long_name/' * 20
  for tar, range_ in enumerate((range(4), range(4, 11))):
    contents = {f'{folder}{i:03d}.png': tars.picture(i) for i in range_}
    tars.write(tmp_path / f'{tar}.tar', contents, format=style)
  train, test = both(tmp_path)
  assert numbers(test) == [4, 9]
  assert numbers(train) == [0, 1, 2, 3, 5, 6, 7, 8, 10]
  assert labels(train) == [0] * 9
  assert (train.num_classes, train.has_texts) == (1, False)
  with pytest.raises(ValueError, match=r'1\.tar/a_long.* has no text'):
    train.text(8)


def test_the_files_of_img2dataset_are_understood(tmp_path):
  for i in range(2):
    tars.write_downloaded(tmp_path / f'{i:05d}.tar', range(i * 5, i * 5 + 5))
    (tmp_path / f'{i:05d}_stats.json').write_text('{}')
    (tmp_path / f'{i:05d}.parquet').write_bytes(b'x')
  train, test = both(tmp_path)
  assert [train.text(i) for i in (0, 7)] == ['caption 0', 'caption 8']
  assert [test.text(i) for i in (0, 1)] == ['caption 4', 'caption 9']
  assert numbers(test) == [4, 9]
  assert test.has_texts


@pytest.mark.parametrize('name', ['classes.txt', 'classes.json'])
def test_class_names_come_from_a_file(tmp_path, name):
  tars.write_samples(tmp_path / '0.tar', range(6), cls=lambda n: n % 2)
  names = ['ant', 'büffel', 'cat']
  text = json.dumps(names) if name == 'classes.json' else '\n'.join(names)
  (tmp_path / name).write_text(f'{text}\n')
  for source in both(tmp_path):
    assert source.class_names == tuple(names)
    assert source.num_classes == 3
  (tmp_path / name).write_text('["ant"]')
  with pytest.raises(ValueError, match='label 1, but its list of classes has'):
    both(tmp_path)
  if name == 'classes.json':
    (tmp_path / name).write_text('{"0": "ant"}')
    with pytest.raises(ValueError, match='is not a list of names'):
      both(tmp_path)


def test_labels_of_only_some_samples_are_refused(tmp_path):
  tars.write_samples(tmp_path / 'train.tar', range(6), cls=str)
  path = tars.write_samples(tmp_path / 'val.tar', range(6))
  with pytest.raises(ValueError, match=f'{path}/000000000.png has no label'):
    both(tmp_path)


def test_remarks_are_about_what_is_not_used(tmp_path):
  image = tars.picture(0)
  contents = {'1.txt': b'x', '2.png': image, '3.png': image, '3.txt': b'x'}
  tars.write(tmp_path / 'train.tar', contents)
  tars.write(tmp_path / 'val.tar', {'1.png': image})
  tars.write(tmp_path / 'test.tar', {'1.png': image})
  train, test = both(tmp_path)
  assert train.remarks == test.remarks
  assert list(sources.remarks(train)) == [
      '1 samples have no image and are left out; the first is'
      f' {tmp_path}/train.tar/1.',
      '1 of 2 samples have no text, so no texts are used.',
      f'1 tar files of a test split in {tmp_path} are not used, because there'
      ' is a validation split.',
  ]


def test_a_broken_image_names_its_tar_file_and_its_name_in_it(tmp_path):
  whole = tars.picture(0, 'JPEG')
  contents = {'a/0.jpg': whole, 'a/1.jpg': whole[:100], 'a/2.jpg': b''}
  tars.write(tmp_path / 'train.tar', contents)
  source = webdataset.WebDataset(tmp_path)
  assert source[0]['image'].shape == (4, 6, 3)
  for i in (1, 2):
    with pytest.raises(
        image_files.BrokenImageError, match=f'train.tar/a/{i}.jpg '
    ):
      source[i]


def test_a_disk_that_fails_is_an_error_of_the_image(tmp_path, monkeypatch):
  tars.write_samples(tmp_path / '0.tar', range(3))
  source = webdataset.WebDataset(tmp_path)

  def fail(*args):
    raise OSError(5, 'Input/output error')

  monkeypatch.setattr(os, 'pread', fail)
  with pytest.raises(
      image_files.BrokenImageError, match=r'1\.png cannot be read: Input/output'
  ):
    source[1]


def test_a_replaced_tar_file_stops_the_run(tmp_path):
  path = tars.write_samples(tmp_path / '0.tar', range(3))
  source = webdataset.WebDataset(tmp_path)
  tars.write(path, {'0.png': tars.picture(1)})
  with pytest.raises(ValueError, match='has changed') as error:
    source[0]
  assert not isinstance(error.value, image_files.BrokenImageError)


def test_the_listing_follows_names_sizes_and_labels_not_places(tmp_path):
  def listing(folder, name='0', label=1, more=b'', **texts):
    path = tmp_path / folder
    tars.write(
        path / 'train.tar',
        {
            f'{name}.png': tars.picture(0) + more,
            f'{name}.cls': str(label).encode(),
            **{f'{name}.{k}': v for k, v in texts.items()},
        },
    )
    return webdataset.WebDataset(path).listing

  first = listing('a')
  assert listing('b') == first
  others = [
      listing('c', name='1'),
      listing('d', label=2),
      listing('e', txt=b'words'),
      listing('f', txt=b'words', more=b'more'),
  ]
  assert len({first, *others}) == 5


def test_other_paths_and_empty_splits_are_refused(tmp_path):
  with pytest.raises(ValueError, match='Set --config.data.path'):
    webdataset.WebDataset(None)
  tars.write_samples(tmp_path / '0.tar', range(4))
  assert len(webdataset.WebDataset(tmp_path)) == 4
  with pytest.raises(ValueError, match='no sample with an image in the test'):
    webdataset.WebDataset(tmp_path, 'test')
  with pytest.raises(ValueError, match="split='dev' is not one of"):
    webdataset.WebDataset(tmp_path, 'dev')


def _config(path, max_pixels=24):
  return sections.Data(
      source='webdataset',
      path=str(path),
      image_size=4,
      max_pixels=max_pixels,
      crop='random',
      flip=True,
  )


def test_an_experiment_opens_it_with_its_options(tmp_path):
  tars.write_samples(tmp_path / 'train.tar', [3])
  config = _config(tmp_path)
  assert numbers(sources.open_source(config, 'train')) == [3]
  source = sources.open_source(_config(tmp_path, max_pixels=23), 'train')
  with pytest.raises(image_files.BrokenImageError, match='has 6 x 4 pixels'):
    source[0]
