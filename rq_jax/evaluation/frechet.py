"""Frechet distance between two normal distributions (Heusel et al. 2017).

    |mean1 - mean2|^2 + tr(cov1) + tr(cov2) - 2 tr sqrt(cov1 cov2)

For any factors with cov1 = F1^T F1 and cov2 = F2^T F2, the last trace is the
sum of the singular values of F1 F2^T. This also holds if there are fewer images
than dimensions. At 2048 dimensions, a distance takes 2 to 10 s on one core.
"""

import numpy as np

# Error of the trace, relative to tr(cov1) + tr(cov2), at which singular values
# replace square roots of eigenvalues.
_TOLERANCE = 1e-9
# A covariance rounded to float32 has eigenvalues this far below 0, relative to
# the largest.
_NEGATIVE = 1e-4
_EPSILON = np.finfo(np.float64).eps


def distance(
    mean1: np.ndarray,
    covariance1: np.ndarray,
    mean2: np.ndarray,
    covariance2: np.ndarray,
) -> float:
  """Frechet distance between two normal distributions, at least 0.

  The trace comes from eigenvalues, or from singular values if the eigenvalues
  are too small. pytorch-fid, clean-fid, ADM and the authors' code compute the
  root of the product of the covariances (`scipy.linalg.sqrtm`), torch-fidelity
  the eigenvalues of this product. With covariances of full rank, all agree to
  5e-12. With fewer images than dimensions, the values of these tools are off by
  up to 1e-4, and may be negative.

  Args:
    mean1: float[D].
    covariance1: float[D, D].
    mean2: float[D].
    covariance2: float[D, D].

  Raises:
    ValueError: If shapes do not fit, a number is not finite, or a covariance
      has negative eigenvalues.
  """
  mean1, covariance1 = _checked(mean1, covariance1)
  mean2, covariance2 = _checked(mean2, covariance2)
  if len(mean1) != len(mean2):
    raise ValueError(
        f'The features have {len(mean1)} and {len(mean2)} dimensions, but must '
        'come from the same layer of the same network. Use another reference.'
    )
  root2 = root(covariance2)
  overlap, error = _trace(covariance1, root2)
  traces = np.trace(covariance1) + np.trace(covariance2)
  if error > _TOLERANCE * traces:
    overlap = _singular_values(root(covariance1) @ root2.T).sum()
  return max(0.0, float(_squared(mean1 - mean2) + traces - 2 * overlap))


def from_features(features1: np.ndarray, features2: np.ndarray) -> float:
  """Frechet distance between two sets of features: float[N, D], float[M, D].

  With fewer images than dimensions, this is faster than `distance`, because no
  covariance is decomposed.

  Raises:
    ValueError: If there are fewer than two rows, or shapes do not fit.
  """
  mean1, root1 = _mean_and_root(features1)
  mean2, root2 = _mean_and_root(features2)
  if len(mean1) != len(mean2):
    raise ValueError(
        f'The features have {len(mean1)} and {len(mean2)} dimensions, but must '
        'come from the same layer of the same network.'
    )
  traces = np.square(root1).sum() + np.square(root2).sum()
  overlap = _singular_values(root1 @ root2.T).sum()
  return max(0.0, float(_squared(mean1 - mean2) + traces - 2 * overlap))


def root(covariance: np.ndarray) -> np.ndarray:
  """A factor F of a covariance, with covariance = F^T F: float64[rank, D].

  Eigenvalues that are only rounding errors are left out.

  Raises:
    ValueError: If the covariance has negative eigenvalues.
  """
  values, vectors = np.linalg.eigh(covariance)
  if values[0] < -_NEGATIVE * values[-1]:
    raise ValueError(
        f'The covariance has eigenvalues from {values[0]:.3g} to '
        f'{values[-1]:.3g}; none may be negative. Compute the reference again.'
    )
  kept = values > len(values) * _EPSILON * values[-1]
  return np.sqrt(values[kept])[:, None] * vectors[:, kept].T


def distance_to_root(
    mean1: np.ndarray,
    covariance1: np.ndarray,
    mean2: np.ndarray,
    root2: np.ndarray,
) -> float:
  """As `distance`, faster and less exact, from the root of one covariance.

  With as many images as dimensions or more, the results agree to about 1e-9 of
  the traces; with fewer, to 1e-5. For many distances to one reference.
  """
  overlap, _ = _trace(covariance1, root2)
  traces = np.trace(covariance1) + np.square(root2).sum()
  return max(0.0, float(_squared(mean1 - mean2) + traces - 2 * overlap))


def _checked(mean, covariance):
  """Mean and covariance in float64, after checks of shapes and numbers."""
  mean = np.asarray(mean, np.float64).reshape(-1)
  covariance = np.asarray(covariance, np.float64)
  if covariance.shape != (len(mean), len(mean)):
    raise ValueError(
        f'The mean has {len(mean)} numbers, but the shape of the covariance is '
        f'{list(covariance.shape)}. Compute the reference again.'
    )
  if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
    raise ValueError(
        'A mean or covariance holds NaN or infinity. A covariance of one image '
        'does; use at least two images, or compute the reference again.'
    )
  return mean, covariance


def _mean_and_root(features):
  """Mean, and a factor of the covariance with as few rows as possible."""
  features = np.asarray(features, np.float64)
  count, dimensions = features.shape
  if count < 2:
    raise ValueError(f'A covariance needs at least 2 images, not {count}.')
  mean = features.mean(axis=0)
  factor = (features - mean) / np.sqrt(count - 1)
  return mean, factor if count <= dimensions else root(factor.T @ factor)


def _squared(vector):
  return vector @ vector


def _singular_values(matrix):
  if 0 in matrix.shape:  # A covariance of equal images has rank 0.
    return np.zeros(0)
  return np.linalg.svd(matrix, compute_uv=False)


def _trace(covariance, factor):
  """The trace of sqrt(covariance F^T F), and how far rounding may move it.

  Eigenvalues are wrong by about epsilon times the largest one, which changes
  the square root of a small eigenvalue much.
  """
  if not len(factor):
    return 0.0, 0.0
  product = factor @ covariance @ factor.T
  values = np.linalg.eigvalsh((product + product.T) / 2)
  noise = _EPSILON * max(values[-1], 0)
  roots = np.sqrt(np.maximum(values, 0))
  error = (noise / np.maximum(2 * roots, np.sqrt(noise) + 1e-300)).sum()
  return roots.sum(), error
