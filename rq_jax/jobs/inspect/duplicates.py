"""Finds images that occur more than once, or nearly so."""

import numpy as np

# Largest mean difference of two thumbnails, in grey levels, that still counts
# as similar. Saving a photograph as JPEG again changes it by less than one.
_LEVELS = 2.0
# Thumbnails with less contrast, as standard deviation in grey levels, are not
# compared: plain pictures all look alike.
_CONTRAST = 8.0
_NEIGHBOURS = 4  # Rows that each row is compared with in every order.
_ORDERS = 8  # Orders of the rows, each by another bit of the thumbnails first.


def exact(digests: np.ndarray) -> list[np.ndarray]:
  """Groups of images with the same size and pixels.

  Args:
    digests: Hash of every image, uint64[N].

  Returns:
    The rows of each group of at least two images, in order.
  """
  order = np.argsort(digests, kind='stable')
  same = digests[order][1:] == digests[order][:-1]
  return _groups(len(digests), order[:-1][same], order[1:][same])


def similar(thumbnails: np.ndarray, digests: np.ndarray) -> list[np.ndarray]:
  """Groups of images that look alike but are not equal.

  The thumbnails are sorted several times, by 64 bits that show which of their
  pixels are brighter than their mean. Each is compared with its neighbours, so
  the time grows as N log N. Some pairs may be missed.

  Args:
    thumbnails: Grey thumbnails, uint8[N, n, n].
    digests: Hash of every image, uint64[N]; equal ones are no pair.

  Returns:
    The rows of each group of at least two images, in order.
  """
  flat = thumbnails.reshape(len(thumbnails), -1)
  means = flat.mean(axis=1, keepdims=True)
  clear = np.flatnonzero(flat.std(axis=1) >= _CONTRAST)
  bits = np.packbits(flat > means, axis=1)[clear]  # [n, 8]
  pairs = []
  for turn in range(_ORDERS):
    # The last key counts first.
    order = clear[np.lexsort(np.roll(bits, turn, axis=1).T)]
    for distance in range(1, _NEIGHBOURS + 1):
      one, other = order[:-distance], order[distance:]
      near = _difference(flat[one], flat[other]) <= _LEVELS
      near &= digests[one] != digests[other]
      pairs.append(np.stack([one[near], other[near]]))
  one, other = np.concatenate(pairs, axis=1)
  return _groups(len(flat), one, other)


def _difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
  return np.abs(one.astype(np.int16) - other).mean(axis=1)


def _groups(count: int, one: np.ndarray, other: np.ndarray) -> list[np.ndarray]:
  """Joins pairs of rows to groups: int[P], int[P] -> rows of each group."""
  first = np.arange(count)

  def find(row: int) -> int:
    while first[row] != row:
      first[row] = first[first[row]]
      row = first[row]
    return row

  for a, b in zip(one.tolist(), other.tolist()):
    a, b = find(a), find(b)
    first[max(a, b)] = min(a, b)
  members: dict[int, list[int]] = {}
  for row in sorted({*one.tolist(), *other.tolist()}):
    members.setdefault(find(row), []).append(row)
  return [np.array(rows) for rows in members.values()]
