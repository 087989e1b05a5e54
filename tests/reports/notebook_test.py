"""Grids of images, as notebooks show them."""

import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

from rq_jax.reports import notebook
from rq_jax.reports import pictures

_RNG = np.random.default_rng(0)


def _images(*shape):
  return _RNG.integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ('count', 'columns'), [(1, 1), (2, 2), (4, 2), (5, 3), (9, 3), (10, 4)]
)
def test_a_grid_has_about_as_many_columns_as_rows(count, columns):
  images = _images(count, 64, 64, 3)
  picture = notebook.grid(images)
  assert isinstance(picture, Image.Image) and picture.mode == 'RGB'
  np.testing.assert_array_equal(
      np.asarray(picture), pictures.grid(images, columns)
  )


def test_a_notebook_shows_the_grid():
  assert notebook.grid(_images(2, 8, 8, 3))._repr_png_().startswith(b'\x89PNG')


@pytest.mark.parametrize(
    ('size', 'scale'), [(8, 8), (32, 2), (33, 2), (64, 1), (256, 1)]
)
def test_small_images_are_enlarged_without_blur(size, scale):
  images = _images(2, size, size, 3)
  enlarged = np.kron(images, np.ones((1, scale, scale, 1), np.uint8))
  expected = pictures.grid(enlarged, 1)
  np.testing.assert_array_equal(
      np.asarray(notebook.grid(images, columns=1)), expected
  )
  np.testing.assert_array_equal(
      np.asarray(notebook.grid(images, columns=1, scale=scale)), expected
  )


def test_floats_jax_arrays_and_single_images_are_taken():
  images = _images(3, 64, 64, 3)
  expected = np.asarray(notebook.grid(images))
  for given in (jnp.asarray(images), images / np.float32(127.5) - 1):
    np.testing.assert_array_equal(np.asarray(notebook.grid(given)), expected)
  np.testing.assert_array_equal(
      np.asarray(notebook.grid(images[0])),
      np.asarray(notebook.grid(images[:1])),
  )
  beyond = np.float32([[[[-2.0, 2.0, 0.0]]]])
  pixel = np.asarray(notebook.grid(beyond, scale=1))[2, 2]
  np.testing.assert_array_equal(pixel, [0, 255, 128])


@pytest.mark.parametrize(
    ('shape', 'dtype', 'message'),
    [
        (
            (2, 4, 4, 4),
            np.uint8,
            r'images has shape \[2, 4, 4, 4\], but must be',
        ),
        ((0, 4, 4, 3), np.uint8, 'with at least one image'),
        ((4, 4), np.uint8, r'shape \[4, 4\]'),
        ((2, 4, 4, 3), np.int32, 'images has dtype int32, but must be uint8'),
    ],
)
def test_what_is_no_picture_is_refused(shape, dtype, message):
  with pytest.raises(ValueError, match=message):
    notebook.grid(np.zeros(shape, dtype))


@pytest.mark.parametrize('name', ['columns', 'scale'])
@pytest.mark.parametrize('value', [0, -1, 2.0])
def test_numbers_below_one_are_refused(name, value):
  with pytest.raises(ValueError) as error:
    notebook.grid(_images(1, 4, 4, 3), **{name: value})
  assert str(error.value) == (
      f'{name}={value} must be a whole number of at least 1.'
  )
