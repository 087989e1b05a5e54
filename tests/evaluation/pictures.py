"""Images of many sizes, drawn by a rule, for recordings of resizers."""

import numpy as np

# Height and width: tiny, odd, smaller and larger than 299, unequal, equal.
SIZES = (
    (1, 7),
    (37, 51),
    (32, 32),
    (64, 64),
    (256, 256),
    (299, 299),
    (320, 352),
    (601, 298),
)
# Rows and columns that are recorded: a corner, and the middle.
CROP = np.ix_([0, 1, 2, 148, 149, 150, 297, 298], [0, 1, 149, 150, 297, 298])


def _noise(height, width):
  rng = np.random.default_rng([height, width])
  return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def _edges(height, width):
  """A checkerboard of black and white, where bicubic leaves [0, 255]."""
  rows, columns = np.mgrid[:height, :width] // 5
  board = 255 * ((rows + columns) % 2)
  return np.repeat(board[..., None], 3, axis=2).astype(np.uint8)


IMAGES = {
    **{f'noise_{y}x{x}': _noise(y, x) for y, x in SIZES},
    'edges_64x64': _edges(64, 64),
    'edges_320x352': _edges(320, 352),
    'constant_48x48': np.full((48, 48, 3), (0, 255, 93), np.uint8),
}
