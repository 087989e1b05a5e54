"""Colours and rotation of images are those that a browser shows."""

import io

import numpy as np
from PIL import Image
from PIL import ImageOps
import pytest

from rq_jax.data import image_files
from tests.data import pictures


def decoded(content, **options):
  return image_files.Reader(**options).decode(content, 'x')


def with_transform(content, transform):
  """A JPEG file whose Adobe marker names another transform of colours."""
  marker = content.index(b'Adobe')
  changed = bytearray(content)
  changed[marker + 11] = transform
  return bytes(changed)


@pytest.mark.parametrize('transform', [0, 2], ids=['CMYK', 'YCCK'])
def test_adobes_inverted_cmyk_and_ycck_become_rgb(photo, transform):
  """Adobe stores 255 for no ink, and so does Pillow."""
  black = np.full((60, 90), 40, np.uint8)  # Ink, of 255.
  inks = 255 - np.asarray(photo)  # The colours without the black.
  stored = 255 - inks
  if transform == 2:  # Y, Cb and Cr stand for the inks, not for their inverse.
    stored = np.asarray(Image.fromarray(inks).convert('YCbCr'))
  stored = np.dstack([stored, 255 - black])
  # Pillow inverts what it writes.
  picture = Image.fromarray(255 - stored, 'CMYK')
  content = pictures.encoded(picture, 'JPEG', quality=100, subsampling=0)
  image = decoded(with_transform(content, transform))
  expected = np.asarray(photo).astype(float) * (255 - 40) / 255
  assert np.abs(image - expected).mean() < 1.5


def test_sixteen_bit_colors_keep_their_range():
  cv2 = pytest.importorskip('cv2')
  values = np.linspace(0, 65535, 16 * 16 * 3).reshape(16, 16, 3)
  deep = values.astype(np.uint16)
  _, content = cv2.imencode('.png', deep[..., ::-1])  # OpenCV stores BGR.
  image = decoded(content.tobytes())
  np.testing.assert_array_equal(image, deep // 256)


@pytest.mark.parametrize('decoder', ['pillow', 'opencv'])
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_the_rotation_of_a_camera_is_applied_where_asked_for(
    photo, kind, orientation, decoder
):
  exif = Image.Exif()
  exif[0x0112] = orientation
  content = pictures.encoded(photo, kind, exif=exif)
  stored = Image.open(io.BytesIO(content))
  expected = np.asarray(ImageOps.exif_transpose(stored))
  rotated = decoded(content, rotate=True, decoder=decoder)
  np.testing.assert_array_equal(rotated, expected)
  reader = image_files.Reader(rotate=True, decoder=decoder)
  assert reader.size_of(content, 'x') == rotated.shape[:2]
  assert rotated.shape[:2] == ((60, 90) if orientation < 5 else (90, 60))
  np.testing.assert_array_equal(
      decoded(content, decoder=decoder), np.asarray(stored)
  )
  assert image_files.Reader().size_of(content, 'x') == (60, 90)


def tag(value):
  exif = Image.Exif()
  exif[0x0112] = value
  return exif.tobytes()


# `image_files` installs this filter, too, but pytest replaces all filters.
@pytest.mark.filterwarnings('ignore::UserWarning:PIL.TiffImagePlugin')
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP'])
@pytest.mark.parametrize(
    'exif',
    [
        tag(0),
        tag(9),
        tag(255),
        b'Exif\0\0',
        b'Exif\0\0no header of TIFF',
        b'Exif\0\0II*\0\x08\0\0\0',
        # An orientation that is a text of two gigabytes.
        b'Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\xff\xff\xff\x7f'
        + bytes(8),
        b'Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0' + b'\xff' * 20,
    ],
)
def test_an_invalid_rotation_leaves_an_image_as_it_is(photo, kind, exif):
  content = pictures.encoded(photo, kind, exif=exif)
  stored = np.asarray(Image.open(io.BytesIO(content)))
  np.testing.assert_array_equal(decoded(content, rotate=True), stored)


def test_transparency_is_dropped(photo):
  """The colours under transparent pixels are those in the file."""
  alpha = np.arange(60 * 90).reshape(60, 90).astype(np.uint8)
  rgba = np.dstack([np.asarray(photo), alpha])
  picture = Image.fromarray(rgba)
  options = dict(lossless=True, exact=True)
  for kind in ('PNG', 'WEBP'):
    content = pictures.encoded(picture, kind, **options)
    np.testing.assert_array_equal(decoded(content), np.asarray(photo))
