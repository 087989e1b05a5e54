"""Grids and PNG files contain exactly the given pixels."""

import io

import numpy as np
from PIL import Image
import pytest

from rq_jax.reports import pictures


def _random(*shape):
  return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize('padding', [0, 1, 3])
@pytest.mark.parametrize('channels', [1, 3])
def test_every_image_of_a_grid_lies_at_its_row_and_column(padding, channels):
  batch = _random(5, 4, 6, channels)
  picture = pictures.grid(batch, columns=2, padding=padding)
  expected = np.full(
      (3 * (4 + padding) + padding, 2 * (6 + padding) + padding, channels),
      pictures.BORDER,
  )
  for i, image in enumerate(batch):
    top = padding + (i // 2) * (4 + padding)
    left = padding + (i % 2) * (6 + padding)
    expected[top : top + 4, left : left + 6] = image
  np.testing.assert_array_equal(picture, expected)
  assert picture.dtype == np.uint8


def test_grid_of_one_image_without_padding_is_that_image():
  batch = _random(1, 3, 3, 3)
  np.testing.assert_array_equal(pictures.grid(batch, 1, padding=0), batch[0])


@pytest.mark.parametrize(
    ('batch', 'columns', 'message'),
    [
        (np.zeros((2, 4, 4, 3), np.float32), 2, 'float32'),
        (np.zeros((4, 4, 3), np.uint8), 2, r'\[4, 4, 3\]'),
        (np.zeros((0, 4, 4, 3), np.uint8), 2, 'at least one image'),
        (np.zeros((2, 4, 4, 3), np.uint8), 0, 'columns=0 must be at least 1'),
    ],
)
def test_grid_refuses_what_it_cannot_arrange(batch, columns, message):
  with pytest.raises(ValueError, match=message):
    pictures.grid(batch, columns)


@pytest.mark.parametrize('shape', [(5, 7), (5, 7, 1), (5, 7, 3)])
def test_png_bytes_decode_to_the_same_pixels(shape):
  image = _random(*shape)
  decoded = np.asarray(Image.open(io.BytesIO(pictures.png_bytes(image))))
  np.testing.assert_array_equal(decoded, image.squeeze())


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((4, 4, 3)),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((4,), np.uint8),
    ],
)
def test_png_bytes_refuses_what_is_no_picture(image):
  with pytest.raises(ValueError, match=r'uint8\[H, W, 3\]'):
    pictures.png_bytes(image)


def test_write_png_makes_the_folder_and_the_file(tmp_path):
  image = _random(6, 6, 3)
  pictures.write_png(tmp_path / 'new' / 'grid.png', image)
  with Image.open(tmp_path / 'new' / 'grid.png') as file:
    np.testing.assert_array_equal(np.asarray(file), image)
