"""Nearest reference features of generated ones, to look for copies.

The search is exact: distances are Euclidean, in float64, and summed over the
differences of the features. It compares all pairs, in blocks.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

_MEMORY = 2**28  # Bytes of a block, by default.
_BYTES = 8  # Bytes of a float64.


class Neighbors(NamedTuple):
  """The nearest reference features of N features.

  Attributes:
    distances: float64[N, k], in ascending order.
    indices: int64[N, k], the positions among all reference features. Of equal
      distances, the smaller index comes first.
  """

  distances: np.ndarray
  indices: np.ndarray


class Search:
  """Finds the nearest reference features, which arrive in any number of parts.

  ```python
  search = nearest.Search(generated, k=1)
  for features in parts:
    search.add(features)
  distances, indices = search.result()
  ```
  """

  def __init__(
      self, features: np.ndarray, *, k: int = 1, memory: int = _MEMORY
  ):
    """Starts a search.

    Args:
      features: float[N, D], the features to find neighbors of.
      k: Number of neighbors.
      memory: Bytes that temporary arrays may take, roughly; the features and
        the neighbors, which stay in memory, come on top.

    Raises:
      ValueError: If k is not positive, or features are not finite.
    """
    if k < 1:
      raise ValueError(f'k={k} must be at least 1. Change k.')
    _check(features, 'features', 0)
    self._features, self._memory = features, memory
    self._squared = np.full((len(features), k), np.inf)
    self._indices = np.full((len(features), k), -1, np.int64)
    self._count = 0

  def add(self, reference: np.ndarray) -> None:
    """Compares with the next reference features, float[M, D].

    Raises:
      ValueError: If they have another width, or are not finite.
    """
    if reference.ndim != 2 or reference.shape[1] != self._features.shape[1]:
      raise ValueError(
          f'The reference features have the shape {list(reference.shape)}, but'
          f' must be [M, {self._features.shape[1]}]. Compute both with the same'
          ' network.'
      )
    _check(reference, 'reference features', self._count)
    # A block holds about three arrays of products, and both kinds of features.
    dims = reference.shape[1]
    rows = max(1, int((self._memory / _BYTES / 6) ** 0.5))
    rows = max(1, min(rows, self._memory // (_BYTES * 4 * dims)))
    for part in _slices(len(reference), rows):
      theirs = reference[part].astype(np.float64)
      for own in _slices(len(self._features), rows):
        self._compare(own, theirs, self._count + part.start)
    self._count += len(reference)

  def _compare(self, own: slice, theirs: np.ndarray, first: int) -> None:
    """Compares a block of features with a block of reference features.

    Products show which pairs may be near. Only these are compared exactly,
    because products of almost equal features lose all digits.
    """
    ours = self._features[own].astype(np.float64)
    squared, indices = self._squared[own], self._indices[own]
    lengths = np.sum(ours**2, axis=1)
    other = np.sum(theirs**2, axis=1)
    approximate = lengths[:, None] + other[None] - 2 * (ours @ theirs.T)
    k = min(squared.shape[1], len(theirs))
    nearest = np.partition(approximate, k - 1, axis=1)[:, k - 1]
    if k < squared.shape[1]:
      nearest = np.full_like(nearest, np.inf)
    # More than a sum of D products can be off.
    error = np.finfo(np.float64).eps * (ours.shape[1] + 8)
    error *= lengths + np.max(other)
    limit = np.minimum(nearest, squared[:, -1]) + 2 * error
    rows, columns = np.nonzero(approximate <= limit[:, None])
    at_once = max(1, self._memory // (_BYTES * 4 * ours.shape[1]))
    for part in _slices(len(rows), at_once):
      r, c = rows[part], columns[part]
      exact = np.sum((ours[r] - theirs[c]) ** 2, axis=1)
      _merge(squared, indices, r, exact, first + c)

  def result(self) -> Neighbors:
    """The neighbors among all reference features so far.

    Raises:
      ValueError: If there were fewer than k reference features.
    """
    k = self._squared.shape[1]
    if self._count < k:
      raise ValueError(
          f'There are {self._count} reference features, but {k} neighbors are'
          ' wanted. Give more reference images.'
      )
    return Neighbors(np.sqrt(self._squared), self._indices.copy())


def nearest(
    features: np.ndarray,
    reference: np.ndarray,
    *,
    k: int = 1,
    memory: int = _MEMORY,
) -> Neighbors:
  """The k nearest of reference features [M, D] for each of features [N, D].

  Arguments and errors are those of `Search`.
  """
  search = Search(features, k=k, memory=memory)
  search.add(reference)
  return search.result()


def _slices(count: int, size: int) -> Iterator[slice]:
  for start in range(0, count, size):
    yield slice(start, min(start + size, count))


def _merge(
    squared: np.ndarray,
    indices: np.ndarray,
    rows: np.ndarray,
    found: np.ndarray,
    found_indices: np.ndarray,
) -> None:
  """Puts pairs into the lists of the nearest ones [n, k], in place.

  Args:
    squared: Squared distances so far, sorted.
    indices: Their indices.
    rows: Row of each pair, in ascending order.
    found: Squared distance of each pair.
    found_indices: Index of each pair.
  """
  touched = np.unique(rows)
  k = squared.shape[1]
  all_rows = np.concatenate([np.repeat(touched, k), rows])
  values = np.concatenate([squared[touched].ravel(), found])
  names = np.concatenate([indices[touched].ravel(), found_indices])
  order = np.lexsort((names, values, all_rows))
  # Sorted by row: the first k of each row are its nearest.
  starts = np.searchsorted(all_rows[order], touched)
  kept = order[starts[:, None] + np.arange(k)[None]]
  squared[touched], indices[touched] = values[kept], names[kept]


def _check(features: np.ndarray, name: str, first: int) -> None:
  if features.ndim != 2:
    raise ValueError(
        f'The {name} have the shape {list(features.shape)}, but must be [N, D].'
    )
  for start in range(0, len(features), 4096):
    finite = np.isfinite(features[start : start + 4096]).all(axis=1)
    if not finite.all():
      row = first + start + int(np.argmin(finite))
      raise ValueError(
          f'Row {row} of the {name} is not finite. Check the images and the'
          ' network.'
      )
