"""Sources return the right pixels, label and split for every image."""

import sys
import types

import numpy as np
from PIL import Image
import pytest
from sklearn import datasets

from rq_jax.config import sections
from rq_jax.data import sources
from rq_jax.data.sources import digits
from tests.data import caches


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


def test_open_source_follows_the_config(tmp_path, photos):
  def open_source(source, path=None, split='test'):
    data = sections.Data(
        source=source,
        path=path and str(path),
        image_size=16,
        max_pixels=60 * 90,
    )
    return sources.open_source(data, split)

  digits = open_source('digits')
  assert len(digits) == 359
  assert digits[0]['image'].shape == (16, 16, 3)

  (tmp_path / 'images').mkdir()
  for i in range(5):
    Image.fromarray(photos[i % 2]).save(tmp_path / 'images' / f'{i}.png')
  folder = open_source('image_folder', tmp_path / 'images')
  np.testing.assert_array_equal(folder[0]['image'], photos[0])

  values = np.array([[[[0.5, -2.0]]]])
  caches.write(tmp_path / 'cache', values, np.array([3]), name='test')
  cache = open_source('features', tmp_path / 'cache')
  np.testing.assert_array_equal(cache[0]['features'], [[[0.5, -2.0]]])

  with pytest.raises(ValueError, match='is not one of digits, image_folder'):
    sources.open_source(types.SimpleNamespace(source='imagefolder'), 'test')
  for source in ('digits', 'image_folder'):
    with pytest.raises(ValueError, match="split='dev' is not one of train, te"):
      open_source(source, tmp_path / 'images', split='dev')
