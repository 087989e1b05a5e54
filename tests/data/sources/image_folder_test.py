"""A folder of images gives the right pixels, label and split for every file."""

import hashlib
import json
import os
import pickle

import numpy as np
from PIL import Image
import pytest

from rq_jax import config as config_lib
from rq_jax.data import sources
from rq_jax.data.sources import digits
from rq_jax.data.sources import image_folder


def _save(path, image, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(image).save(path, **options)


def _save_numbered(folder, names):
  """Saves PNG files; all pixels of a file are its index in `names`."""
  for i, name in enumerate(names):
    _save(folder / name, np.full((2, 3, 3), i, np.uint8))


def _numbers(source):
  return [int(source[i]['image'][0, 0, 0]) for i in range(len(source))]


def _labels(source):
  return [int(source[i]['label']) for i in range(len(source))]


def test_lossless_files_come_back_exactly_and_jpeg_nearly(tmp_path, photos):
  _save(tmp_path / 'a.png', photos[0])
  _save(tmp_path / 'b.WEBP', photos[1], format='WEBP', lossless=True)
  _save(tmp_path / 'c.JPEG', photos[0], quality=95)
  _save(tmp_path / 'd.jpg', photos[1], quality=95)
  source = image_folder.ImageFolder(tmp_path)
  np.testing.assert_array_equal(source[0]['image'], photos[0])
  np.testing.assert_array_equal(source[1]['image'], photos[1])
  for i, photo in ((2, photos[0]), (3, photos[1])):
    image = source[i]['image']
    assert (image.dtype, image.shape) == (np.uint8, (60, 90, 3))
    assert np.abs(image.astype(int) - photo).mean() < 4
  assert _labels(source) == [0, 0, 0, 0]
  assert (source.class_names, source.num_classes) == (None, 1)


def test_labels_number_the_class_names_in_order(tmp_path):
  _save_numbered(tmp_path / 'dog', ['2.png', '10.png'])
  _save_numbered(tmp_path / 'ant', [f'{i}.png' for i in range(7)])
  (tmp_path / '.cache').mkdir()
  (tmp_path / 'ant' / 'notes.txt').write_text('no image')
  train = image_folder.ImageFolder(tmp_path, 'train')
  test = image_folder.ImageFolder(tmp_path, 'test')
  assert train.class_names == ('ant', 'dog')
  assert train.num_classes == 2
  # In order: ant/0 ... ant/6, dog/10, dog/2. The fifth, ant/4, is a test image.
  assert _numbers(train) == [0, 1, 2, 3, 5, 6, 1, 0]
  assert _labels(train) == [0, 0, 0, 0, 0, 0, 1, 1]
  assert (_numbers(test), _labels(test)) == ([4], [0])


@pytest.mark.parametrize('name', ['test', 'val'])
def test_folders_of_splits_share_the_labels_of_their_classes(tmp_path, name):
  _save_numbered(tmp_path / 'train' / 'ant', ['0.png'])
  _save_numbered(tmp_path / 'train' / 'cat', ['0.png', '1.png'])
  _save_numbered(tmp_path / name / 'bee', ['0.png'])
  _save_numbered(tmp_path / name / 'cat', ['0.png'])
  train = image_folder.ImageFolder(tmp_path, 'train')
  test = image_folder.ImageFolder(tmp_path, 'test')
  assert train.class_names == test.class_names == ('ant', 'bee', 'cat')
  assert _labels(train) == [0, 2, 2]
  assert _labels(test) == [1, 2]


def test_folders_of_splits_may_hold_images_without_classes(tmp_path):
  _save_numbered(tmp_path / 'train', ['a.png', 'b.png'])
  _save_numbered(tmp_path / 'val', ['c.png'])
  assert _labels(image_folder.ImageFolder(tmp_path, 'train')) == [0, 0]
  assert _labels(image_folder.ImageFolder(tmp_path, 'test')) == [0]


def test_the_listing_names_the_files_and_labels_wherever_they_lie(tmp_path):
  names = [f'{i}.png' for i in range(5)]
  _save_numbered(tmp_path / 'here' / 'ant', names)
  listed = '[["/ant/0.png", "/ant/1.png", "/ant/2.png", "/ant/3.png"],'
  listed += ' [0, 0, 0, 0]]'

  def listing(path, split='train'):
    return image_folder.ImageFolder(tmp_path / path, split).listing

  first = listing('here')
  assert first == hashlib.sha256(listed.encode()).hexdigest()
  assert listing('here', 'test') != first
  (tmp_path / 'here').rename(tmp_path / 'mounted')
  assert listing('mounted') == first
  (tmp_path / 'mounted' / 'aardvark').mkdir()  # Changes labels, but no names.
  assert listing('mounted') != first


def test_the_listing_of_a_plain_folder_is_that_of_earlier_versions(tmp_path):
  """Caches that were begun before can be finished."""
  names = ['2/b.png', '10/ü.JPG', '10/a b.png', 'x/"q".webp', 'x/0.jpeg']
  files = [f'{split}/{name}' for split in ('train', 'val') for name in names]
  for name in [*files, os.fsdecode(b'train/x/\xff.png')]:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b'x')
  for split, folder in (('train', 'train'), ('test', 'val')):
    paths, labels = [], []
    for label, name in enumerate(['10', '2', 'x']):
      found = sorted(map(str, (tmp_path / folder / name).iterdir()))
      paths += [path[len(str(tmp_path)) :] for path in found]
      labels += [label] * len(found)
    expected = hashlib.sha256(json.dumps([paths, labels]).encode()).hexdigest()
    source = image_folder.ImageFolder(
        tmp_path, split, class_order='alphabetical'
    )
    assert source.listing == expected
    assert source.path(0) == str(tmp_path) + paths[0]


def test_a_long_listing_is_hashed_in_parts(tmp_path, monkeypatch):
  _save_numbered(tmp_path / 'a', [f'{i}.png' for i in range(9)])
  whole = [image_folder.ImageFolder(tmp_path, s).listing
           for s in ('train', 'test')]  # fmt: skip
  monkeypatch.setattr(image_folder, '_HASHED_AT_ONCE', 2)
  assert whole == [image_folder.ImageFolder(tmp_path, s).listing
                   for s in ('train', 'test')]  # fmt: skip


def test_what_is_ignored_is_counted_and_shifts_no_label(tmp_path):
  _save_numbered(tmp_path / 'train' / 'cat', ['0.png', '1.png'])
  _save_numbered(tmp_path / 'valid' / 'cat', ['2.PNG'])
  for name in (
      *('train/__MACOSX/._cat', 'train/cat/._0.png', 'train/Thumbs.db'),
      *('valid/cat/x.jpg.txt', 'valid/cat/y.gif', '.DS_Store'),
  ):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b'x')
  train = image_folder.ImageFolder(tmp_path, 'train')
  assert train.class_names == ('cat',) and _numbers(train) == [0, 1]
  assert train.ignored == {
      '.gif files': 1,
      '.txt files': 1,
      'hidden files and folders': 2,
      'system files and folders': 2,
  }
  assert sources.remarks(train) == (
      f'Ignored in {tmp_path}: .gif files (1), .txt files (1), hidden files and'
      ' folders (2), system files and folders (2).',
  )
  assert sources.remarks(digits.Digits('test', 8)) == ()


def test_an_empty_split_says_what_was_ignored(tmp_path):
  (tmp_path / 'x.gif').write_bytes(b'x')
  with pytest.raises(ValueError, match=r'Ignored in .*: \.gif files \(1\)\.$'):
    image_folder.ImageFolder(tmp_path)


def test_runs_choose_the_order_of_classes_and_the_rotation(tmp_path, photos):
  """New runs sort numbers as numbers and rotate; older ones do neither."""
  exif = Image.Exif()
  exif[0x0112] = 6  # The camera was turned: rotate by 90 degrees clockwise.
  for name in ('2', '10'):
    for i in range(5):
      _save(tmp_path / name / f'{i}.png', photos[0], exif=exif)

  def opened(parse, data):
    raw = {'stage': 1, 'data': {'source': 'image_folder', **data}}
    return sources.open_source(parse(raw).data, 'test')

  new = opened(config_lib.parse, {'path': str(tmp_path)})
  assert new.class_names == ('2', '10')
  turned = np.rot90(photos[0], -1)
  np.testing.assert_array_equal(new[0]['image'], turned)
  old = opened(config_lib.parse_stored, {'path': str(tmp_path)})
  assert old.class_names == ('10', '2')
  np.testing.assert_array_equal(old[0]['image'], photos[0])


def test_every_index_of_a_split_is_valid_and_no_other(tmp_path):
  _save_numbered(tmp_path, [f'{i}.png' for i in range(7)])
  source = image_folder.ImageFolder(tmp_path, 'train')
  assert source.path(np.int64(5)) == source.path(-1) == f'{tmp_path}/6.png'
  for index in (6, -7):
    with pytest.raises(IndexError):
      source[index]


def test_a_missing_or_empty_folder_names_the_flag(tmp_path):
  for path in (None, tmp_path / 'none', tmp_path):
    with pytest.raises(ValueError, match='Change --config.data.path'):
      image_folder.ImageFolder(path)
  _save_numbered(tmp_path, ['a.png', 'b.png', 'c.png', 'd.png'])
  assert len(image_folder.ImageFolder(tmp_path)) == 4
  with pytest.raises(ValueError, match='has no image in the test split'):
    image_folder.ImageFolder(tmp_path, 'test')


def test_an_image_folder_survives_pickling(tmp_path, photos):
  _save(tmp_path / 'a.png', photos[0])
  source = pickle.loads(pickle.dumps(image_folder.ImageFolder(tmp_path)))
  np.testing.assert_array_equal(source[0]['image'], photos[0])
