"""Which examples are in which split, where a source has no folders for them."""

import numpy as np

SPLITS = ('train', 'test')

# Without folders of its own, the test split is every fifth example.
_FOLD, _HELD_OUT = 5, 4


def check(split: str) -> None:
  """Raises a ValueError if there is no such split."""
  if split not in SPLITS:
    raise ValueError(
        f'the split is {split!r}; possible are {", ".join(SPLITS)}; ask for'
        ' one of them'
    )


def members(count: int, split: str) -> np.ndarray:
  """Indices of the examples in a split, int[n], if there are no folders."""
  held_out = np.arange(count) % _FOLD == _HELD_OUT
  return np.flatnonzero(held_out if split == 'test' else ~held_out)
