"""Large images become smaller, as in training; all others keep their bytes."""

import io

import numpy as np
from PIL import Image
import pytest
from sklearn import datasets

from rq_jax.data import image_files
from rq_jax.data import transforms
from rq_jax.jobs.prepare import contents
from tests.jobs.prepare import folders

READER = image_files.Reader()
PHOTO = datasets.load_sample_images().images[0][:300, :401]


def encoded(pixels, kind, **options):
  """The content of an image file."""
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, kind, **options)
  return buffer.getvalue()


def resized(content, size):
  """What is stored of a file."""
  return contents.Checker(reader=READER, resize=size)(content, 'x')


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP'])
@pytest.mark.parametrize('size', [None, 300, 500])
def test_images_that_are_small_enough_keep_their_bytes(kind, size):
  content = encoded(PHOTO, kind)
  assert resized(content, size) == content


@pytest.mark.parametrize('pixels', [PHOTO, PHOTO.transpose(1, 0, 2)])
def test_training_crops_the_same_pixels_from_a_resized_png(pixels):
  smaller = READER.decode(resized(encoded(pixels, 'PNG'), 64), 'x')
  assert min(smaller.shape[:2]) == 64
  np.testing.assert_array_equal(
      transforms.evaluate(smaller, image_size=64),
      transforms.evaluate(pixels, image_size=64),
  )


@pytest.mark.parametrize(
    ('kind', 'becomes'), [('JPEG', 'JPEG'), ('WEBP', 'JPEG'), ('PNG', 'PNG')]
)
def test_resized_images_are_jpeg_unless_they_were_png(kind, becomes):
  content = encoded(PHOTO, kind, quality=95)
  stored = folders.image_of(resized(content, 128))
  assert (stored.format, stored.mode, stored.size) == (
      becomes,
      'RGB',
      (171, 128),
  )
  expected = np.asarray(
      Image.fromarray(READER.decode(content, 'x')).resize(
          (171, 128), Image.Resampling.BILINEAR
      )
  )
  difference = np.asarray(stored).astype(float) - expected
  # Root mean square; JPEG of quality 95 with full colour resolution.
  assert np.sqrt((difference**2).mean()) < (0.01 if becomes == 'PNG' else 3)
  if becomes == 'JPEG':
    # Every component is stored at full resolution.
    assert {layer[1:3] for layer in stored.layer} == {(1, 1)}


def test_resized_images_keep_their_rotation_and_no_other_metadata():
  exif = Image.Exif()
  exif[0x0112], exif[0x010F] = 6, 'A camera'
  for kind in ('JPEG', 'PNG'):
    content = encoded(PHOTO, kind, exif=exif)
    stored = folders.image_of(resized(content, 100))
    assert dict(stored.getexif()) == {0x0112: 6}
    # The pixels are not rotated.
    assert stored.size == (133, 100)
  plain = folders.image_of(resized(encoded(PHOTO, 'JPEG'), 100))
  assert 'exif' not in plain.info


def test_grey_and_transparent_images_become_rgb():
  for mode in ('L', 'RGBA', 'P', 'CMYK'):
    buffer = io.BytesIO()
    kind = 'JPEG' if mode == 'CMYK' else 'PNG'
    Image.fromarray(PHOTO).convert(mode).save(buffer, kind)
    assert folders.image_of(resized(buffer.getvalue(), 50)).mode == 'RGB'


def test_images_that_cannot_be_read_are_named():
  content = encoded(PHOTO, 'JPEG')
  checker = contents.Checker(reader=READER)
  with pytest.raises(image_files.BrokenImageError, match='^class/x.jpg '):
    checker(content[: len(content) // 2], 'class/x.jpg')
  small = contents.Checker(reader=image_files.Reader(max_pixels=100))
  with pytest.raises(image_files.BrokenImageError, match='401 x 300 pixels'):
    small(content, 'x')
