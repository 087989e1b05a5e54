"""OpenCV reads and resizes images like Pillow, or leaves them to it."""

import io
import sys

import numpy as np
from PIL import Image
import pytest
from sklearn import datasets

from rq_jax.data import image_files
from rq_jax.data import opencv
from tests.data import pictures

FAST = image_files.Reader(decoder='opencv')


def photographs():
  return [Image.fromarray(p) for p in datasets.load_sample_images().images]


@pytest.mark.parametrize(
    'options',
    [
        dict(quality=60),
        dict(quality=95, subsampling=0),
        dict(subsampling=1),
        dict(progressive=True),
        dict(keep_rgb=True),
    ],
    ids=str,
)
def test_photographs_have_the_same_pixels(options):
  for picture in photographs():
    content = pictures.encoded(picture, 'JPEG', **options)
    fast = opencv.decode(content)
    np.testing.assert_array_equal(
        fast, np.asarray(Image.open(io.BytesIO(content)))
    )
    np.testing.assert_array_equal(FAST.decode(content, 'x'), fast)


@pytest.mark.parametrize(
    ('mode', 'kind'),
    [
        ('L', 'JPEG'),
        ('CMYK', 'JPEG'),
        ('P', 'PNG'),
        ('LA', 'PNG'),
        ('I;16', 'PNG'),
        ('RGBA', 'WEBP'),
    ],
)
def test_other_kinds_have_the_same_pixels(photo, mode, kind):
  picture = photo.convert('L').convert(mode) if mode[0] in 'LI' else photo
  content = pictures.encoded(picture.convert(mode), kind)
  expected = image_files.Reader().decode(content, 'x')
  np.testing.assert_array_equal(FAST.decode(content, 'x'), expected)


def test_only_jpeg_files_are_decoded_by_it(photo, monkeypatch):
  """It reads CMYK, deep colours and animations differently."""
  seen = []
  monkeypatch.setattr(opencv, 'decode', seen.append)
  for kind in ('JPEG', 'PNG', 'WEBP'):
    FAST.decode(pictures.encoded(photo, kind), 'x')
  FAST.decode(pictures.encoded(photo.convert('CMYK'), 'JPEG'), 'x')
  assert [content[:3] for content in seen] == [b'\xff\xd8\xff']


def test_a_file_with_a_damaged_middle_is_read_as_pillow_reads_it(photo):
  content = bytearray(pictures.encoded(photo, 'JPEG'))
  places = np.random.default_rng(0).integers(700, len(content) - 10, 40)
  for place in places:
    changed = content.copy()
    changed[place] ^= 0x55
    found = []
    for reader in (image_files.Reader(), FAST):
      try:
        found.append(reader.decode(bytes(changed), 'x').tobytes())
      except image_files.BrokenImageError as error:
        found.append(str(error))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ('size', 'difference'),
    [((100, 150), 3), ((213, 320), 3), ((600, 900), 0.5)],
)
def test_resized_photographs_are_close_to_those_of_pillow(size, difference):
  height, width = size
  for picture in photographs():
    slow = picture.resize((width, height), Image.Resampling.BILINEAR)
    fast = opencv.resize(np.asarray(picture), height, width)
    assert (fast.shape, fast.dtype) == ((height, width, 3), np.uint8)
    error = np.abs(fast.astype(int) - np.asarray(slow, int))
    assert error.mean() < difference
    # Both are antialiased: picking pixels is further away.
    picked = picture.resize((width, height), Image.Resampling.NEAREST)
    assert error.mean() < np.abs(np.asarray(picked, int) - slow).mean() / 2


def test_shrinking_to_a_half_averages_four_pixels(photo):
  image = np.asarray(photo).astype(float)
  expected = image.reshape(30, 2, 45, 2, 3).mean((1, 3))
  half = opencv.resize(np.asarray(photo), 30, 45)
  assert np.abs(half - expected).max() <= 0.5


def test_it_starts_no_threads_of_its_own():
  opencv.load().setNumThreads(2)
  opencv.load.cache_clear()
  assert opencv.load().getNumThreads() == 1


def test_a_missing_library_is_an_error_that_names_the_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, 'cv2', None)
  opencv.load.cache_clear()
  with pytest.raises(ImportError, match=r"pip install 'rq_jax\[fast\]'"):
    image_files.Reader(decoder='opencv')
  image_files.Reader()
