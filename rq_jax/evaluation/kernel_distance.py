"""Kernel Inception Distance (Binkowski et al. 2018).

The unbiased estimate of the squared maximum mean discrepancy, with the kernel
(x y / D + 1)^3, as the mean over random subsets of the features.
"""

import numpy as np

from rq_jax.evaluation import intervals
from rq_jax.evaluation import rows as feature_rows

# Most features of each side from which the interval is computed.
_FEATURES_OF_INTERVAL = 4096


def distance(
    generated: np.ndarray,
    reference: np.ndarray,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int,
) -> tuple[float, float]:
  """Mean and standard deviation over random subsets.

  The order of the draws is that of torch-fidelity (seed 2020) and of clean-fid
  after `np.random.seed(seed)`; clean-fid sets no seed itself, and uses subsets
  of min(N, M, 1000). Both compute in the float32 of their features, whose
  rounding changes a distance by about 1e-6; this function uses float64.

  Args:
    generated: float[N, D].
    reference: float[M, D].
    subsets: Number of subsets.
    subset_size: Number of features of a subset, of each side.
    seed: Seed of the subsets.

  Raises:
    ValueError: If a side has more than 100,000 or fewer than `subset_size`
      features, or if a feature is not finite.
  """
  _check(generated, reference)
  fewest = min(len(generated), len(reference))
  if not 2 <= subset_size <= fewest or subsets < 1:
    raise ValueError(
        f'{subsets} subsets of {subset_size} features are set, but one side '
        f'has {fewest} images. Use at least 1 subset, of 2 to {fewest} '
        'features, or evaluate more images.'
    )
  rng = np.random.RandomState(seed)
  values = []
  for _ in range(subsets):
    x, y = (
        rows[rng.choice(len(rows), subset_size, replace=False)]
        for rows in (generated, reference)
    )
    values.append(discrepancy(x, y))
  return float(np.mean(values)), float(np.std(values))


def discrepancy(x: np.ndarray, y: np.ndarray) -> float:
  """Unbiased squared maximum mean discrepancy: float[N, D], float[M, D]."""
  within = (_without_diagonal(_kernel(rows, rows)) for rows in (x, y))
  return float(sum(within) - 2 * _kernel(x, y).mean())


def half_width(
    generated: np.ndarray,
    reference: np.ndarray,
) -> float:
  """Half the width of the 95 % interval of a distance (see `intervals`).

  The discrepancy between all features is computed without each group of
  generated images. Of more than 4096 features of a side, evenly spaced ones are
  used, and the width is scaled to the number of generated images. What random
  subsets add is not included.

  Args:
    generated: float[N, D].
    reference: float[M, D].

  Raises:
    ValueError: If there are fewer than 32 generated images, a side has more
      than 100,000 features, or a feature is not finite.
  """
  _check(generated, reference)
  intervals.check_number(len(generated))
  x, y = _evenly_spaced(generated), _evenly_spaced(reference)
  groups = intervals.groups_of_block(0, len(x))
  member = (groups == np.arange(intervals.GROUPS)[:, None]).astype(np.float64)
  sizes = member.sum(axis=1)
  # Sums of the kernel between groups, and of each group to the reference.
  inner = _kernel(x, x)
  np.fill_diagonal(inner, 0)
  inner = member @ inner @ member.T
  outer = member @ _kernel(x, y).sum(axis=1)
  left = len(x) - sizes
  inner_left = inner.sum() - 2 * inner.sum(axis=1) + np.diagonal(inner)
  outer_left = outer.sum() - outer
  without = inner_left / (left * (left - 1)) - 2 * outer_left / (left * len(y))
  return intervals.half_width(without) * np.sqrt(len(x) / len(generated))


def _check(generated, reference):
  """Refuses features that are not finite, or too many, or of two networks."""
  for rows, name in ((generated, 'generated'), (reference, 'reference')):
    feature_rows.check(rows, f'{name} features')
    feature_rows.check_number(rows, f'{name} features')
  if generated.shape[1] != reference.shape[1]:
    raise ValueError(
        f'The features have {generated.shape[1]} and {reference.shape[1]} '
        'dimensions, but must come from the same layer of the same network.'
    )


def _kernel(x, y):
  """(x y / D + 1)^3: [N, D], [M, D] -> float64[N, M]."""
  x, y = x.astype(np.float64), y.astype(np.float64)
  product = x @ y.T / x.shape[1] + 1
  return product * product * product


def _without_diagonal(kernel):
  """Mean of a kernel over pairs of different rows."""
  n = len(kernel)
  return (kernel.sum() - np.trace(kernel)) / (n * (n - 1))


def _evenly_spaced(rows):
  most = min(len(rows), _FEATURES_OF_INTERVAL)
  return rows[np.linspace(0, len(rows) - 1, most).astype(int)]
