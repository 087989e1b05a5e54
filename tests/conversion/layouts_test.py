"""Layouts are compared with their descriptions, element by element."""

import numpy as np
import pytest

from rq_jax.conversion import layouts


def _numbered(*shape):
  return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def _assert_inverse(layout, theirs):
  ours = layout.to_ours(theirs)
  again = layout.to_theirs(ours)
  assert len(again) == len(theirs)
  for a, b in zip(again, theirs, strict=True):
    np.testing.assert_array_equal(a, b)
  return ours


def test_kernels_of_convolutions_are_moved_by_name():
  theirs = _numbered(5, 4, 3, 2)  # out, in, h, w
  (ours,) = _assert_inverse(layouts.CONV, [theirs])
  assert ours.shape == (3, 2, 4, 5)
  assert ours[2, 1, 3, 4] == theirs[4, 3, 2, 1]
  assert ours[0, 1, 2, 3] == theirs[3, 2, 0, 1]


def test_kernels_of_dense_layers_are_transposed():
  (ours,) = _assert_inverse(layouts.DENSE, [_numbered(2, 3)])
  assert ours.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_dense_layers_on_maps_are_moved_by_position():
  theirs = _numbered(2, 24)  # out; c, h, w of a map of 4 channels, 2 x 3.
  layout = layouts.flattened(height=2, width=3)
  (ours,) = _assert_inverse(layout, [theirs])
  assert ours.shape == (2, 3, 4, 2)
  assert ours[1, 2, 3, 0] == theirs[0, 3 * 6 + 1 * 3 + 2]
  assert ours[0, 1, 2, 1] == theirs[1, 2 * 6 + 1]


def test_leading_and_channel_axes_of_one_are_dropped():
  (ours,) = _assert_inverse(layouts.LEADING, [_numbered(1, 2, 3)])
  assert ours.tolist() == [[0, 1, 2], [3, 4, 5]]
  (ours,) = _assert_inverse(layouts.CHANNELS, [_numbered(1, 3, 1, 1)])
  assert ours.tolist() == [0, 1, 2]


def test_the_row_of_padding_is_dropped_and_comes_back_as_zeros():
  theirs = np.float32([[1, 2], [3, 4], [0, 0]])
  (ours,) = _assert_inverse(layouts.PADDED, [theirs])
  assert ours.tolist() == [[1, 2], [3, 4]]
  theirs[-1, 1] = 5
  with pytest.raises(ValueError, match='padding and should be zero'):
    layouts.PADDED.to_ours([theirs])


def test_copies_must_be_equal():
  layout = layouts.copies(3)
  a = _numbered(2, 2)
  (ours,) = _assert_inverse(layout, [a, a.copy(), a])
  np.testing.assert_array_equal(ours, a)
  written = layout.to_theirs([ours])
  assert written[0] is written[1] is written[2], 'one array, listed three times'
  changed = a.copy()
  changed[1, 0] += 1
  with pytest.raises(ValueError, match='copies of one array, but they differ'):
    layout.to_ours([a, a, changed])


def test_layers_are_stacked_in_order():
  layout = layouts.stacked(layouts.DENSE, layers=3)
  theirs = [_numbered(2, 4) + 100 * i for i in range(3)]
  (ours,) = _assert_inverse(layout, theirs)
  assert ours.shape == (3, 4, 2)
  assert ours[2, 3, 1] == theirs[2][1, 3] == 207


def test_query_key_and_value_are_fused_by_head():
  heads, width = 2, 6
  theirs = [_numbered(width, width) + 100 * i for i in range(3)]
  (ours,) = _assert_inverse(layouts.fused(heads=heads), theirs)
  assert ours.shape == (width, 3, heads, width // heads)
  # Channel 4 of the value is channel 1 of the second head.
  assert ours[5, 2, 1, 1] == theirs[2][4, 5]
  biases = [_numbered(width) + 10 * i for i in range(3)]
  (ours,) = _assert_inverse(layouts.fused(heads=heads), biases)
  assert ours.shape == (3, heads, width // heads)
  assert ours[1].ravel().tolist() == biases[1].tolist()


def test_fused_kernels_multiply_as_the_separate_ones():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(4, 6))
  theirs = [rng.normal(size=(6, 6)) for _ in range(3)]
  (ours,) = layouts.fused(heads=3).to_ours(theirs)
  together = np.einsum('be,etnh->tbnh', x, ours)
  for part, kernel in zip(together, theirs, strict=True):
    np.testing.assert_allclose(part.reshape(4, 6), x @ kernel.T, rtol=1e-12)


def test_the_merging_projection_is_split_by_head():
  theirs = _numbered(6, 6)
  (ours,) = _assert_inverse(layouts.merged(heads=2), [theirs])
  assert ours.shape == (2, 3, 6)
  assert ours[1, 2, 4] == theirs[4, 5]


def test_fused_heads_are_stacked_over_layers():
  layout = layouts.stacked(layouts.fused(heads=2), layers=2)
  theirs = [_numbered(4, 4) + 100 * i for i in range(6)]
  (ours,) = _assert_inverse(layout, theirs)
  assert ours.shape == (2, 4, 3, 2, 2)
  assert ours[1, 0, 1, 1, 0] == theirs[4][2, 0]


def test_tables_of_all_depths_are_split_at_their_offsets():
  layout = layouts.per_depth((2, 3, 1))
  offsets = np.array([0, 2, 5])
  ours = _assert_inverse(layout, [_numbered(6, 2), offsets])
  assert [len(table) for table in ours] == [2, 3, 1]
  assert ours[1][0].tolist() == [4, 5]
  assert layout.to_theirs(ours)[1].dtype == np.int64
  with pytest.raises(ValueError, match=r'start at \[0, 2, 5\].*\[0, 3, 5\]'):
    layout.to_ours([_numbered(6, 2), np.array([0, 3, 5])])


def test_statistics_lose_the_count_of_batches_alone():
  mean, var = _numbered(3), _numbered(3) + 1
  ours = layouts.BATCH_STATISTICS.to_ours([mean, var, np.int64(7)])
  assert [a.tolist() for a in ours] == [mean.tolist(), var.tolist()]
  *again, count = layouts.BATCH_STATISTICS.to_theirs(ours)
  assert [a.tolist() for a in again] == [mean.tolist(), var.tolist()]
  assert (count.dtype, int(count)) == (np.int64, 0)


def test_act_norm_starts_at_the_official_values_and_keeps_what_is_learnt():
  loc = _numbered(1, 3, 1, 1)
  scale = _numbered(1, 3, 1, 1) + 5
  theirs = [loc, scale, np.array(1, np.uint8)]
  ours = _assert_inverse(layouts.ACT_NORM, theirs)
  shift, factor, start_shift, start_factor, fitted = ours
  assert not shift.any() and not factor.any() and bool(fitted)
  assert start_shift.tolist() == [0, 1, 2]
  assert start_factor.tolist() == [5, 6, 7]
  learnt = layouts.ACT_NORM.to_theirs(
      [shift + 10, factor + 20, start_shift, start_factor, fitted]
  )
  assert learnt[0].ravel().tolist() == [10, 11, 12]
  assert learnt[1].ravel().tolist() == [25, 26, 27]


@pytest.mark.parametrize(
    ('layout', 'shape', 'count'),
    [
        (layouts.CONV, (2, 2, 1, 1), 1),
        (layouts.copies(2), (2, 2), 2),
        (layouts.stacked(layouts.merged(heads=2), layers=2), (2, 2), 2),
        (layouts.fused(heads=2), (2, 2), 3),
    ],
)
def test_values_pass_bit_by_bit(layout, shape, count):
  # NaN, negative zero, the smallest positive value, and an infinity.
  odd = np.array([np.nan, -0.0, 1e-45, -np.inf], np.float32)
  theirs = [odd.reshape(shape)] * count
  again = layout.to_theirs(layout.to_ours(theirs))
  for a, b in zip(again, theirs, strict=True):
    assert np.ascontiguousarray(a).tobytes() == b.tobytes()
