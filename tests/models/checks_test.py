"""Images and code maps that do not fit a model are refused in plain words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import checks

_SHAPE = (2, 3, 2)
_SIZES = (5, 3)


def _error(function, *args, **kwargs):
  with pytest.raises(ValueError) as error:
    function(*args, **kwargs)
  return str(error.value)


def test_codes_are_taken_up_to_the_last_of_each_depth():
  codes = np.zeros((4, 2, 3, 2), np.int64)
  codes[1, 1, 2] = [4, 2]
  np.testing.assert_array_equal(checks.codes(codes, _SHAPE), codes)
  checks.code_values(codes, _SIZES)


@pytest.mark.parametrize(('depth', 'code'), [(0, 5), (1, 3), (0, -1), (1, -1)])
def test_codes_out_of_range_are_refused_where_they_count(depth, code):
  codes = np.zeros((4, 2, 3, 2), np.int32)
  codes[3, 1, 0, depth] = code
  keep = np.ones((4, 6, 2), bool)
  message = (
      f'codes[3, 1, 0, {depth}] is {code}, but codes at depth {depth + 1} must'
      f' be in [0, {_SIZES[depth]}). Use the tokenizer that encoded them.'
  )
  for given in (codes, jnp.asarray(codes)):
    assert _error(checks.code_values, given, _SIZES) == message
    assert _error(checks.code_values, given, _SIZES, where=keep) == message
  keep[3, 3, depth] = False
  checks.code_values(codes, _SIZES, where=keep)


def test_missing_codes_are_allowed_on_request():
  codes = np.full((1, 2, 3, 2), -1, np.int32)
  checks.code_values(codes, _SIZES, allow_missing=True)
  codes[0, 0, 1, 1] = -2
  assert _error(checks.code_values, codes, _SIZES, allow_missing=True) == (
      'codes[0, 0, 1, 1] is -2, but codes at depth 2 must be in [0, 3), or -1'
      ' for a missing code. Use the tokenizer that encoded them.'
  )


@pytest.mark.parametrize('shape', [(4, 3, 2, 2), (2, 3), ()], ids=str)
def test_codes_of_another_shape_are_refused(shape):
  assert _error(checks.codes, np.zeros(shape, np.int32), _SHAPE) == (
      f'codes has shape {list(shape)}, but this model takes [B, 2, 3, 2]. Pass'
      ' code maps of Tokenizer.encode or Sampler.codes.'
  )


def test_one_code_map_without_a_batch_is_refused():
  assert _error(checks.codes, np.zeros(_SHAPE, np.int32), _SHAPE) == (
      'codes has shape [2, 3, 2], but this model takes [B, 2, 3, 2]. Add a'
      ' batch dimension: codes[None].'
  )


@pytest.mark.parametrize('dtype', [np.float32, bool])
def test_codes_of_another_type_are_refused(dtype):
  codes = np.zeros((4, *_SHAPE), dtype)
  for given in (codes, jnp.asarray(codes)):
    assert _error(checks.codes, given, _SHAPE) == (
        f'codes has dtype {codes.dtype}, but must be integers, such as those of'
        ' Tokenizer.encode. Convert it.'
    )


def test_values_are_not_looked_at_while_a_function_is_traced():
  @jax.jit
  def take(codes):
    checked = checks.codes(codes, _SHAPE)
    checks.code_values(checked, _SIZES)
    return checked

  codes = np.full((1, *_SHAPE), 9, np.int32)
  np.testing.assert_array_equal(take(codes), codes)


@pytest.mark.parametrize('given', [np.uint8, np.float16, np.float32])
def test_images_stay_as_they_are(given):
  images = np.zeros((2, 4, 4, 3), given)
  images[0, 0, 0] = -1 if given != np.uint8 else 255
  checked = checks.images(images, 4)
  assert checked.dtype == given
  np.testing.assert_array_equal(checked, images)


@pytest.mark.parametrize('count', [1, 8, 9])
def test_the_range_of_the_first_images_is_looked_at(count):
  images = np.full((count, 4, 4, 3), 0.25, np.float32)
  images[0, 0] = 0.75
  images[-1, 1] = -0.5
  if count <= 8:
    checks.images(images, 4)
  else:
    with pytest.warns(UserWarning, match=r'all lie in \[0, 1\]'):
      checks.images(images, 4)
