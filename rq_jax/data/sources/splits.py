"""Divides examples into splits where a source has no folders for them."""

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


def members(count: int, split: str) -> np.ndarray:
  """The indices of the examples in a split, int[n], out of `count` examples."""
  held_out = np.arange(count) % _FOLD == _HELD_OUT
  return np.flatnonzero(held_out if split == 'test' else ~held_out)
