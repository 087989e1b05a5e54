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


def test_a_change_is_shown_around_grey_and_never_wraps():
  levels = np.array([100, 110, 110, 90, 255], np.uint8)
  shown = pictures.change(levels[:-1], levels[1:], scale=4)
  assert shown.dtype == np.uint8
  np.testing.assert_array_equal(shown, [168, 128, 48, 255])


@pytest.mark.parametrize(
    ('before', 'after', 'scale'),
    [
        ([7, 7], [7, 7], 1),
        ([0, 40], [100, 40], 1),
        ([0, 40], [64, 0], 1),
        ([0, 40], [63, 0], 2),
        ([10, 10], [11, 9], 64),
        ([255, 0], [0, 0], 0.5),
    ],
)
def test_a_change_is_enlarged_as_far_as_nothing_is_clipped(
    before, after, scale
):
  before, after = np.uint8(before), np.uint8(after)
  assert pictures.visible_scale(before, after) == scale
  difference = after.astype(float) - before
  np.testing.assert_allclose(
      pictures.change(before, after, scale), 128 + scale * difference, atol=0.5
  )


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
