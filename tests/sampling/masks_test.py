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
      'keep must be bool of one of the shapes [2, 3], [2, 3, 2], [4, 2, 3],'
      f' [4, 2, 3, 2]; got {keep.dtype} of shape {list(keep.shape)}.'
  )


def test_codes_are_taken_up_to_the_last_of_each_depth():
  codes = np.zeros((4, 2, 3, 2), np.int64)
  codes[1, 1, 2] = [4, 2]
  checked = masks.check_codes(_PRIOR, codes)
  assert checked.dtype == np.int32
  np.testing.assert_array_equal(checked, codes)


@pytest.mark.parametrize(
    ('depth', 'code', 'last'), [(0, 5, 4), (1, 3, 2), (0, -1, 4), (1, -1, 2)]
)
def test_codes_that_are_none_are_refused_where_they_count(depth, code, last):
  codes = np.zeros((4, 2, 3, 2), np.int32)
  codes[3, 1, 0, depth] = code
  keep = np.ones((4, 6, 2), bool)
  message = (
      f'codes[3, 1, 0, {depth}] is {code}, but at this depth there are codes'
      f' from 0 to {last}.'
  )
  assert _error(masks.check_codes, _PRIOR, codes) == message
  assert _error(masks.check_codes, _PRIOR, codes, keep) == message
  keep[3, 3, depth] = False
  np.testing.assert_array_equal(masks.check_codes(_PRIOR, codes, keep), codes)


@pytest.mark.parametrize(
    'codes',
    [
        np.zeros((2, 3, 2), np.int32),
        np.zeros((4, 3, 2, 2), np.int32),
        np.zeros((4, 2, 3, 2)),
        np.zeros((4, 2, 3, 2), bool),
    ],
    ids=lambda codes: f'{codes.dtype}{codes.shape}',
)
def test_codes_of_another_shape_or_type_are_refused(codes):
  assert _error(masks.check_codes, _PRIOR, codes) == (
      'codes must be whole numbers of shape [B, 2, 3, 2], as of'
      f' Tokenizer.encode; got {codes.dtype} of shape {codes.shape}.'
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
      'redraw must be bool of shape [12, 12] or [4, 12, 12], over pixels; got'
      f' {redraw.dtype} of shape {list(redraw.shape)}.'
  )
