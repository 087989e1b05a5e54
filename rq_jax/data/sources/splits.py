"""Divides examples into splits where a source has no folders for them."""

from typing import Any

import numpy as np

SPLITS = ('train', 'test')

# Every fifth example belongs to the test split.
_FOLD, _HELD_OUT = 5, 4


def check(split: str) -> None:
  """Checks the name of a split; raises a ValueError if it is unknown."""
  if split not in SPLITS:
    raise ValueError(
        f'split={split!r} is not one of {", ".join(SPLITS)}. Change the name of'
        ' the split.'
    )


def size(count: int, split: str) -> int:
  """The number of examples in a split, out of `count` examples."""
  held_out = (count + _FOLD - 1 - _HELD_OUT) // _FOLD
  return held_out if split == 'test' else count - held_out


def member(index: Any, split: str) -> Any:
  """The index, among all examples, of example `index` of a split.

  Both are integers, or arrays of integers.
  """
  if split == 'test':
    return index * _FOLD + _HELD_OUT
  fold, place = np.divmod(index, _FOLD - 1)
  return fold * _FOLD + place + (place >= _HELD_OUT)


def members(count: int, split: str) -> np.ndarray:
  """The indices of the examples in a split, int[n], out of `count` examples."""
  return member(np.arange(size(count, split)), split)
