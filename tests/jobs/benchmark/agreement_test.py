"""Kernels that compute their plain form are told from others."""

import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.jobs.benchmark.device import agreement


def _check(found, expected, *, state=(), dtype='float32'):
  """Compares (results, state), each a list of arrays."""
  found, expected = (
      tuple([jnp.asarray(x, dtype) for x in arrays] for arrays in pair)
      for pair in (found, expected)
  )
  state = [jnp.asarray(x, dtype) for x in state]
  return agreement.check(found, expected, state, dtype)


def test_differences_are_relative_to_the_largest_number_of_their_array():
  found = _check(
      ([[1024, 2], [4, 4, 4 + 2**-16]], []), ([[1024, 2], [4, 4, 4]], [])
  )
  assert found == {
      'difference': 2**-18,
      'tolerance': 1e-5,
      'share_equal': 0.8,
  }
  with pytest.raises(ValueError) as caught:
    _check(([[1024.0, 2], [4, 4 + 2**-14]], []), ([[1024, 2], [4, 4]], []))
  assert str(caught.value) == (
      'The difference of array 2 of 2 from the plain form is 1.5e-05. Rounding'
      ' explains at most 1e-05.'
  )


def test_a_plain_form_of_zeros_shows_nothing():
  zeros = [[0, 0], [1, 2]], []
  words = 'array 1 of 2 .* is nan.'
  with np.errstate(invalid='ignore'), pytest.raises(ValueError, match=words):
    _check(zeros, zeros)


def test_a_state_counts_only_where_it_changes():
  old, new = [500.0, 6, 7, 8], [500, 1, 2 + 2**-17, 8]
  found = _check(([[3]], [new]), ([[3]], [[500, 1, 2, 8]]), state=[old])
  # Of one result, and the two numbers that were written.
  assert found['share_equal'] == pytest.approx(2 / 3)
  assert found['difference'] == 2**-18


@pytest.mark.parametrize(
    'written', [[5, 2, 7], [5, 6, 7], [1, 2, 7], [5, 1, 8]]
)
def test_a_state_that_is_written_otherwise_is_wrong(written):
  with pytest.raises(ValueError, match='array 2 of 2'):
    _check(([[3]], [written]), ([[3]], [[5, 1, 7]]), state=[[5, 6, 7]])


def test_bfloat16_has_a_wider_tolerance():
  one_step = ([[1 + 2**-7]], []), ([[1]], [])
  found = _check(*one_step, dtype='bfloat16')
  assert (found['difference'], found['tolerance']) == (2**-7, 0.02)
  with pytest.raises(ValueError, match='is 0.0078.'):
    _check(*one_step)
  with pytest.raises(ValueError, match='is 0.023.'):
    _check(([[1 + 3 * 2**-7]], []), ([[1]], []), dtype='bfloat16')


@pytest.mark.parametrize('number', [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_wrong(number):
  given = dict(state=[[5, 6]])
  right = [[1, 2, 3]], [[5, 9]]
  words = '1 of 3 numbers of the kernel are not finite'
  with pytest.raises(ValueError, match=words):
    _check(([[1, number, 3]], [[5, 9]]), right, **given)
  with pytest.raises(ValueError, match='1 of 1 numbers of the kernel'):
    _check(([[1, 2, 3]], [[5, number]]), right, **given)
  # Where the plain form writes nothing.
  with pytest.raises(ValueError, match='1 of 2 numbers of the kernel'):
    _check(([[1, 2, 3]], [[number, 9]]), right, **given)
  with pytest.raises(ValueError, match='1 of 1 numbers of the plain form'):
    _check(right, ([[1, 2, 3]], [[5, number]]), **given)


def test_one_of_eight_codes_may_differ():
  expected = [5, 6, 7, 8, 0, 1, 2, 3]
  found = _check(([[9000, *expected[1:]]], []), ([expected], []), dtype='int32')
  assert found == {
      'difference': 0.125,
      'tolerance': 0.125,
      'share_equal': 0.875,
  }
  with pytest.raises(
      ValueError, match='is 0.25. Rounding explains at most 0.1'
  ):
    _check(([[0, 0, *expected[2:]]], []), ([expected], []), dtype='int32')
