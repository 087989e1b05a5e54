"""Precision and recall of generated images (Kynkaanniemi et al. 2019).

A set's manifold is the union of balls around its features, each as large as the
distance to the k-th nearest other feature of the set. Precision is the share of
generated images in the manifold of the real ones, and recall the share of real
images in the manifold of the generated ones.

Time grows with the product of the numbers of images: 2e13 operations for 50,000
features of 2048 dimensions.
"""

from collections.abc import Iterator

import numpy as np

from rq_jax.evaluation import rows as feature_rows

# Distances that are computed at once: 128 MB in float64.
_STRIP = 2**24
# Rows and columns of the blocks in which ADM decides about float16.
_ADM_BLOCK = 10_000
# Squared distances below this part of the squared lengths are rounding errors.
_ROUNDING = 1e-13


def precision_recall(
    real: np.ndarray,
    generated: np.ndarray,
    *,
    k: int = 3,
    half: bool = False,
) -> tuple[float, float]:
  """Precision and recall.

  Args:
    real: float[N, D].
    generated: float[M, D].
    k: Number of the neighbour that sets the size of a ball.
    half: Whether distances are rounded to float16, as in ADM's evaluator, for
      every block of 10,000 x 10,000 distances that stays finite. Otherwise,
      they are float64. (torch-fidelity's are float32.)

  Raises:
    ValueError: If a set has more than 100,000 or at most `k` features, or if a
      feature is not finite.
  """
  radii = manifold(real, k=k, half=half)
  generated_radii = manifold(generated, k=k, half=half)
  real_inside = np.zeros(len(real), bool)
  generated_inside = np.zeros(len(generated), bool)
  for strip, squared in _strips(real, generated, half=half):
    real_inside[strip] = (squared <= generated_radii).any(axis=1)
    generated_inside |= (squared <= radii[strip, None]).any(axis=0)
  return float(generated_inside.mean()), float(real_inside.mean())


def manifold(
    features: np.ndarray,
    *,
    k: int = 3,
    half: bool = False,
) -> np.ndarray:
  """Squared radii of the balls around features: float[N, D] -> float[N].

  Args and errors are those of `precision_recall`.
  """
  feature_rows.check(features, 'features')
  feature_rows.check_number(features, 'features')
  if not 0 < k < len(features):
    raise ValueError(
        f'With k={k}, precision and recall need at least {k + 1} images on '
        f'each side, but there are {len(features)}. Evaluate more images.'
    )
  radii = np.empty(len(features), np.float32 if half else np.float64)
  for strip, squared in _strips(features, features, half=half):
    # The nearest is the feature itself.
    radii[strip] = np.partition(squared, k, axis=1)[:, k]
  return radii


def _strips(
    first: np.ndarray, second: np.ndarray, *, half: bool
) -> Iterator[tuple[slice, np.ndarray]]:
  """Squared distances of some rows to all columns: (rows, float[n, M])."""
  step = max(1, _STRIP // len(second))
  if not half:
    second = second.astype(np.float64)
    lengths = _lengths(second)
    for start in range(0, len(first), step):
      strip = slice(start, start + step)
      yield strip, _squared_distances(first[strip], second, lengths)
    return
  columns = _slices(len(second), _ADM_BLOCK)
  for rows in _slices(len(first), _ADM_BLOCK):
    fits = [_fits_half(first[rows], second[column]) for column in columns]
    for start in range(rows.start, rows.stop, step):
      strip = slice(start, min(start + step, rows.stop))
      parts = [
          (_half_distances if fit else _squared_distances)(
              first[strip], second[column]
          ).astype(np.float32)
          for column, fit in zip(columns, fits)
      ]
      yield strip, np.concatenate(parts, axis=1)


def _slices(length, size):
  starts = range(0, length, size)
  return [slice(start, min(start + size, length)) for start in starts]


def _lengths(rows):
  """Squared lengths: float64[n, D] -> float64[n]."""
  return np.square(rows).sum(axis=1)


def _squared_distances(rows, columns, column_lengths=None):
  """Squared distances: [n, D], [m, D] -> float64[n, m]."""
  rows = rows.astype(np.float64)
  columns = columns.astype(np.float64, copy=False)
  if column_lengths is None:
    column_lengths = _lengths(columns)
  lengths = _lengths(rows)[:, None] + column_lengths
  squared = lengths - 2 * (rows @ columns.T)
  squared[squared < _ROUNDING * lengths] = 0
  return squared


def _half_distances(rows, columns):
  """Squared distances, rounded to float16 after every operation: float16[n, m].

  Sums over dimensions are float32; TensorFlow's depend on the device.
  """
  with np.errstate(over='ignore', invalid='ignore'):
    rows, columns = rows.astype(np.float16), columns.astype(np.float16)
    row_lengths, column_lengths = (
        np.square(x).sum(axis=1, dtype=np.float32).astype(np.float16)
        for x in (rows, columns)
    )
    products = rows.astype(np.float32) @ columns.astype(np.float32).T
    products = np.float16(2) * products.astype(np.float16)
    squared = row_lengths[:, None] - products + column_lengths
  return np.maximum(squared, np.float16(0))


def _fits_half(rows, columns):
  """Whether all float16 distances of a block are finite."""
  largest = max(
      np.square(x, dtype=np.float64).sum(axis=1).max() for x in (rows, columns)
  )
  # No term, nor a sum of them, exceeds four times the largest squared length.
  if 4 * largest < 0.9 * np.finfo(np.float16).max:
    return True
  step = max(1, _STRIP // len(columns))
  return all(
      np.isfinite(_half_distances(rows[i : i + step], columns)).all()
      for i in range(0, len(rows), step)
  )
