"""Rows are checked, and divided into blocks counted from the first row."""

import numpy as np
import pytest

from rq_jax.evaluation import rows as feature_rows


def test_blocks_do_not_depend_on_how_rows_arrive():
  rows = np.arange(46, dtype=np.float32).reshape(23, 2)
  for size in (1, 4, 7, 23):
    blocks = feature_rows.Blocks(5, 'features')
    found = [
        block.copy()
        for start in range(0, 23, size)
        for block in blocks.add(rows[start : start + size])
    ]
    np.testing.assert_array_equal(np.concatenate(found), rows[:20])
    np.testing.assert_array_equal(blocks.rest(), rows[20:])
    assert [len(block) for block in found] == [5] * 4
    assert (blocks.count, blocks.block, blocks.waiting) == (23, 4, 3)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_named_by_its_index_in_the_stream(value):
  blocks = feature_rows.Blocks(4, 'features')
  list(blocks.add(np.zeros((6, 3))))
  rows = np.zeros((4, 3))
  rows[2, 1] = value
  with pytest.raises(ValueError, match='features of image 8 hold NaN or inf'):
    list(blocks.add(rows))
  assert blocks.count == 6


def test_large_finite_numbers_pass():
  rows = np.full((2, 3), 3e38, np.float32)
  assert feature_rows.check(rows, 'features') is rows
  rows = np.full((2, 3), 1e308)
  assert feature_rows.check(rows, 'features') is rows


@pytest.mark.parametrize(
    'rows', [np.zeros(3), np.zeros((2, 2, 3)), np.zeros((2, 3), np.uint8)]
)
def test_only_matrices_of_floats_are_features(rows):
  with pytest.raises(ValueError, match='one row of floats per image'):
    feature_rows.check(rows, 'features')


def test_rows_of_another_length_are_refused():
  blocks = feature_rows.Blocks(4, 'features')
  list(blocks.add(np.zeros((6, 3))))
  with pytest.raises(ValueError, match='4 numbers per image.* before have 3'):
    list(blocks.add(np.zeros((1, 4))))


def test_metrics_hold_up_to_100_000_features():
  feature_rows.check_number(np.zeros((100_000, 0)), 'features')
  with pytest.raises(ValueError, match='100,001 features.* at most 100,000'):
    feature_rows.check_number(np.zeros((100_001, 0)), 'features')


def test_no_rows_have_no_rest():
  blocks = feature_rows.Blocks(4, 'features')
  with pytest.raises(ValueError, match='no images'):
    blocks.rest()
  list(blocks.add(np.zeros((0, 3))))
  with pytest.raises(ValueError, match='no images'):
    blocks.rest()
