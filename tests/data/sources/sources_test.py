"""Sources return the right pixels, label and split for every image."""

import hashlib
import pickle
import sys
import types

import numpy as np
from PIL import Image
import pytest
from sklearn import datasets

from rq_jax.data import sources
from rq_jax.data.sources import digits
from rq_jax.data.sources import image_folder
from tests.data import caches


@pytest.fixture(scope='module')
def photos():
  """Two real photographs, reduced to uint8[60, 90, 3]."""
  return [
      np.asarray(Image.fromarray(image).resize((90, 60)))
      for image in datasets.load_sample_images().images
  ]


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


def test_digits_split_by_every_fifth_example():
  target = datasets.load_digits().target
  train, test = digits.Digits('train'), digits.Digits('test')
  assert (len(train), len(test)) == (1438, 359)
  assert _labels(test) == target[4::5].tolist()
  assert _labels(train) == [t for i, t in enumerate(target) if i % 5 != 4]
  assert train[0]['label'].dtype == np.int32


def test_digits_are_the_bicubic_enlargement_of_scikit_learns():
  image = np.round(datasets.load_digits().images[9] * 255 / 16)
  enlarged = Image.fromarray(image.astype(np.uint8)).resize(
      (32, 32), Image.BICUBIC
  )
  result = digits.Digits('test')[1]['image']  # The second of 4, 9, 14, ...
  assert (result.dtype, result.shape) == (np.uint8, (32, 32, 3))
  for channel in range(3):
    np.testing.assert_array_equal(result[..., channel], np.asarray(enlarged))


def test_digits_at_their_own_size_are_the_original_pixels():
  source = digits.Digits('train', image_size=8)
  original = datasets.load_digits().images[0]
  np.testing.assert_allclose(
      source[0]['image'][..., 0] * (16 / 255), original, atol=0.04
  )


def test_digits_without_scikit_learn_name_the_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, 'sklearn', None)
  with pytest.raises(ImportError, match=r'rq_jax\[quickstart\]'):
    digits.Digits('train')


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
  assert (source.classes, source.num_classes) == ((), 1)


def test_labels_number_the_class_names_in_order(tmp_path):
  _save_numbered(tmp_path / 'dog', ['2.png', '10.png'])
  _save_numbered(tmp_path / 'ant', [f'{i}.png' for i in range(7)])
  (tmp_path / '.cache').mkdir()
  (tmp_path / 'ant' / 'notes.txt').write_text('no image')
  train = image_folder.ImageFolder(tmp_path, 'train')
  test = image_folder.ImageFolder(tmp_path, 'test')
  assert train.classes == ('ant', 'dog')
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
  assert train.classes == test.classes == ('ant', 'bee', 'cat')
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
  assert digits.Digits('test', 8).listing is None


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


def test_open_source_follows_the_config(tmp_path, photos):
  def open_source(source, path=None, split='test'):
    config = types.SimpleNamespace(
        source=source,
        path=path,
        image_size=16,
        max_pixels=60 * 90,
        decoder='pillow',
    )
    return sources.open_source(config, split)

  digits = open_source('digits')
  assert len(digits) == 359
  assert digits[0]['image'].shape == (16, 16, 3)

  for i in range(5):
    _save(tmp_path / 'images' / f'{i}.png', photos[i % 2])
  folder = open_source('image_folder', tmp_path / 'images')
  np.testing.assert_array_equal(folder[0]['image'], photos[0])

  values = np.array([[[[0.5, -2.0]]]])
  caches.write(tmp_path / 'cache', values, np.array([3]), name='test')
  cache = open_source('features', tmp_path / 'cache')
  np.testing.assert_array_equal(cache[0]['features'], [[[0.5, -2.0]]])

  with pytest.raises(ValueError, match='is not one of digits, image_folder'):
    open_source('imagefolder')
  for source in ('digits', 'image_folder'):
    with pytest.raises(ValueError, match="split='dev' is not one of train, te"):
      open_source(source, tmp_path / 'images', split='dev')
