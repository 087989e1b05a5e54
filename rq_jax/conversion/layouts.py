"""Layouts: how official arrays are rearranged into ours, and back.

A layout is a pair of functions between lists of arrays, which are inverse to
each other, bit by bit. They move values and never compute with them, so they
work on any dtype, and on placeholders that only have a shape.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

Arrays = Sequence[np.ndarray]


class Layout(NamedTuple):
  """Two functions: official arrays to ours, and ours to official ones."""

  to_ours: Callable[[Arrays], list[np.ndarray]]
  to_theirs: Callable[[Arrays], list[np.ndarray]]


def _each(
    to_ours: Callable[[np.ndarray], np.ndarray],
    to_theirs: Callable[[np.ndarray], np.ndarray],
) -> Layout:
  """A layout that rearranges each array on its own."""
  return Layout(
      lambda arrays: [to_ours(a) for a in arrays],
      lambda arrays: [to_theirs(a) for a in arrays],
  )


SAME = _each(lambda a: a, lambda a: a)
# Kernels of dense layers: [out, in] <-> [in, out].
DENSE = _each(np.transpose, np.transpose)
# Kernels of convolutions: [out, in, h, w] <-> [h, w, in, out].
CONV = _each(
    lambda a: np.transpose(a, (2, 3, 1, 0)),
    lambda a: np.transpose(a, (3, 2, 0, 1)),
)
# Official arrays have a leading axis of size 1 that ours do not have.
LEADING = _each(lambda a: np.squeeze(a, 0), lambda a: a[None])
# One value for each channel: [1, C, 1, 1] <-> [C].
CHANNELS = _each(
    lambda a: np.reshape(a, a.shape[1:2]), lambda a: a[None, :, None, None]
)


def _without_padding(a: np.ndarray) -> np.ndarray:
  if np.any(a[-1]):
    raise ValueError('the last row is padding and should be zero')
  return a[:-1]


# The last row of an official codebook is padding and zero.
PADDED = _each(
    _without_padding,
    lambda a: np.concatenate([a, np.zeros_like(a[:1])]),
)


def copies(count: int, layout: Layout = SAME) -> Layout:
  """One of our arrays, which an official file lists `count` times."""

  def to_ours(arrays):
    if any(a is not arrays[0] for a in arrays) and not all(
        np.array_equal(a, arrays[0], equal_nan=True) for a in arrays
    ):
      raise ValueError('they should be copies of one array, but they differ')
    return layout.to_ours(arrays[:1])

  return Layout(to_ours, lambda arrays: layout.to_theirs(arrays) * count)


def stacked(layout: Layout, *, layers: int) -> Layout:
  """One of our arrays [L, ...] for official arrays listed layer by layer."""

  def to_ours(arrays):
    each = len(arrays) // layers
    parts = [
        layout.to_ours(arrays[i * each : (i + 1) * each])[0]
        for i in range(layers)
    ]
    return [np.stack(parts)]

  def to_theirs(arrays):
    return [a for layer in arrays[0] for a in layout.to_theirs([layer])]

  return Layout(to_ours, to_theirs)


def fused(*, heads: int) -> Layout:
  """Query, key and value: three [E, E] or [E] <-> [E, 3, N, E/N] or [3, ...].

  Official kernels are [out, in]; heads are contiguous in `out`.
  """

  def to_ours(arrays):
    parts = [a.T.reshape(*a.shape[1:], heads, -1) for a in arrays]
    return [np.stack(parts, axis=-3)]

  def to_theirs(arrays):
    parts = np.moveaxis(arrays[0], -3, 0)
    return [p.reshape(*p.shape[:-2], -1).T for p in parts]

  return Layout(to_ours, to_theirs)


def merged(*, heads: int) -> Layout:
  """The projection after attention: [E, E] <-> [N, E/N, E]."""
  return _each(
      lambda a: a.T.reshape(heads, -1, a.shape[0]),
      lambda a: a.reshape(-1, a.shape[-1]).T,
  )


def flattened(*, height: int, width: int) -> Layout:
  """A dense layer on a whole map: [out, C * h * w] <-> [h, w, C, out]."""
  return _each(
      lambda a: CONV.to_ours([a.reshape(len(a), -1, height, width)])[0],
      lambda a: CONV.to_theirs([a])[0].reshape(a.shape[-1], -1),
  )


def per_depth(sizes: Sequence[int]) -> Layout:
  """Tables [K, E] by depth <-> one [sum of K, E], and where each starts."""
  starts = np.cumsum([0, *sizes[:-1]]).astype(np.int64)

  def to_ours(arrays):
    table, offsets = arrays
    if not np.array_equal(offsets, starts):
      raise ValueError(
          f'the tables of the depths should start at {starts.tolist()}, but'
          f' start at {np.asarray(offsets).tolist()}'
      )
    return np.split(table, starts[1:])

  return Layout(to_ours, lambda arrays: [np.concatenate(arrays), starts])


def _batch_statistics_to_ours(arrays):
  mean, var, _ = arrays  # The last one counts batches; nothing reads it.
  return [mean, var]


# Statistics of BatchNorm. The official ones include a count of batches.
BATCH_STATISTICS = Layout(
    _batch_statistics_to_ours,
    lambda arrays: [*arrays, np.zeros((), np.int64)],
)


def _act_norm_to_ours(arrays):
  shift, scale, fitted = arrays
  shift, scale = CHANNELS.to_ours([shift, scale])
  zero = np.zeros_like(shift)
  return [zero, zero, shift, scale, np.asarray(fitted, bool).reshape(())]


def _act_norm_to_theirs(arrays):
  shift, scale, start_shift, start_scale, fitted = arrays
  sums = CHANNELS.to_theirs([start_shift + shift, start_scale + scale])
  return [*sums, np.asarray(fitted, np.uint8)]


# ActNorm. Ours stores its start and the changes by training separately.
ACT_NORM = Layout(_act_norm_to_ours, _act_norm_to_theirs)
