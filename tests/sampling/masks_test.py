"""Masks of codes and of pixels, position by position."""

import numpy as np
import pytest

from rq_jax.models import rqtransformer
from rq_jax.sampling import masks

_PRIOR = rqtransformer.RQTransformer(code_shape=(2, 3, 2), codebook_size=(5, 3))
_RNG = np.random.default_rng(0)


def _error(function, *args):
  with pytest.raises(ValueError) as error:
    function(*args)
  return str(error.value)


@pytest.mark.parametrize('shape', [(2, 3), (2, 3, 2), (4, 2, 3), (4, 2, 3, 2)])
def test_a_mask_holds_for_the_images_and_depths_that_it_leaves_out(shape):
  keep = _RNG.random(shape) < 0.5
  expanded = masks.expand(_PRIOR, keep, 4)
  assert expanded.shape == (4, 6, 2) and expanded.dtype == bool
  for b, t, d in np.ndindex(expanded.shape):
    index = (t // 3, t % 3)
    if shape[0] == 4:
      index = (b, *index)
    if shape[-1] == 2:
      index = (*index, d)
    assert expanded[b, t, d] == keep[index]


def test_a_mask_of_stacks_and_depths_goes_before_one_of_images():
  prior = rqtransformer.RQTransformer(code_shape=(2, 2, 2))
  keep = np.zeros((2, 2, 2), bool)
  keep[0, 1, 1] = True
  expected = np.zeros((2, 4, 2), bool)
  expected[:, 1, 1] = True
  np.testing.assert_array_equal(masks.expand(prior, keep, 2), expected)


@pytest.mark.parametrize(
    'keep',
    [
        np.ones((3, 2), bool),
        np.ones((3, 2, 3), bool),
        np.ones((4, 2, 3, 3), bool),
        np.ones((2, 3)),
        np.ones((2, 3), np.int32),
        np.bool_(True),
    ],
    ids=lambda keep: f'{keep.dtype}{keep.shape}',
)
def test_a_mask_of_another_shape_or_type_is_refused(keep):
  assert _error(masks.expand, _PRIOR, keep, 4) == (
      'keep must be bool with one of the shapes [2, 3], [2, 3, 2], [4, 2, 3],'
      f' [4, 2, 3, 2]; got {keep.dtype} with shape {list(keep.shape)}.'
  )


def test_any_pixel_of_a_cell_means_the_cell_and_no_other():
  # Cells of 6 by 4 pixels.
  for row, column in np.ndindex(12, 12):
    redraw = np.zeros((12, 12), bool)
    redraw[row, column] = True
    chosen = masks.cells((2, 3, 2), 12, redraw, 4)
    expected = np.zeros((4, 2, 3), bool)
    expected[:, row // 6, column // 4] = True
    np.testing.assert_array_equal(chosen, expected)
  none = masks.cells((2, 3, 2), 12, np.zeros((12, 12), bool), 4)
  assert not none.any() and none.shape == (4, 2, 3)


@pytest.mark.parametrize(
    ('image_size', 'cell'), [((8, 12), (4, 4)), ((12, 6), (6, 2))]
)
def test_cells_of_images_that_are_not_square_are_found_and_filled(
    image_size, cell
):
  for row, column in np.ndindex(image_size):
    redraw = np.zeros(image_size, bool)
    redraw[row, column] = True
    chosen = masks.cells((2, 3, 2), image_size, redraw, 1)
    expected = np.zeros((1, 2, 3), bool)
    expected[:, row // cell[0], column // cell[1]] = True
    np.testing.assert_array_equal(chosen, expected)
    filled = np.kron(expected[0], np.ones(cell, bool))[None, ..., None]
    np.testing.assert_array_equal(masks.pixels(chosen, image_size), filled)


def test_each_image_may_have_pixels_of_its_own():
  redraw = np.zeros((4, 12, 12), bool)
  redraw[1, 6, 3] = redraw[3, 0, 11] = True
  chosen = masks.cells((2, 3, 2), 12, redraw, 4)
  np.testing.assert_array_equal(np.argwhere(chosen), [[1, 1, 0], [3, 0, 2]])


def test_pixels_are_those_of_the_cells():
  chosen = _RNG.random((4, 2, 3)) < 0.5
  pixels = masks.pixels(chosen, 12)
  assert pixels.shape == (4, 12, 12, 1)
  for b, row, column in np.ndindex(4, 12, 12):
    assert pixels[b, row, column, 0] == chosen[b, row // 6, column // 4]


@pytest.mark.parametrize(
    'redraw',
    [
        np.ones((12, 6), bool),
        np.ones((3, 12, 12), bool),
        np.ones((4, 12, 12, 1), bool),
        np.ones((12, 12), np.uint8),
    ],
    ids=lambda redraw: f'{redraw.dtype}{redraw.shape}',
)
def test_pixels_of_another_shape_or_type_are_refused(redraw):
  assert _error(masks.cells, (2, 3, 2), 12, redraw, 4) == (
      'redraw must be bool with shape [12, 12] or [4, 12, 12], one value per'
      f' pixel; got {redraw.dtype} with shape {list(redraw.shape)}.'
  )
