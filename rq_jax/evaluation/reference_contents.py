"""What a reference holds, and checks of it."""

from collections.abc import Mapping
import dataclasses
import os
from typing import Any, NoReturn

import numpy as np

from rq_jax.evaluation import npz

# A covariance of so many dimensions takes 2 GiB.
MAX_DIMENSIONS = 2**14
# Largest difference between a covariance and its transpose, relative to the
# largest variance.
_ASYMMETRY = 1e-6
_AXES = {'mu': 1, 'mu_s': 1, 'sigma': 2, 'sigma_s': 2, 'feats': 2}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
  """What a file of references holds. Parts that it lacks are None.

  Attributes:
    mean: float64[D], mean of the features. None only if there are just images.
    covariance: float64[D, D], their covariance (ddof 1).
    spatial_mean: float64[2023], mean of the spatial features, for sFID.
    spatial_covariance: float64[2023, 2023], their covariance.
    features: float32[N, D], features of all images.
    images: uint8[N, Y, X, 3], read in blocks.
    count: Number of images behind the statistics; None if unknown.
    description: 'file', 'sha256', 'layout'; 'known': the name of a published
      file, or None; 'dialect': name of the dialect, or None if unknown;
      'network': kind of the network, or None if unknown. Files of the layout
      `rq_jax` may add more, such as 'weights', the fingerprint of the network,
      and 'sources', where the images came from.
  """

  mean: np.ndarray | None = None
  covariance: np.ndarray | None = None
  spatial_mean: np.ndarray | None = None
  spatial_covariance: np.ndarray | None = None
  features: np.ndarray | None = None
  images: npz.StoredRows | None = None
  count: int | None = None
  description: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def check_type(stored: npz.NpzFile, name: str) -> None:
  """Checks the shape and type of an array before it is read.

  Raises:
    ValueError: If it has the wrong number of dimensions, too many features, or
      is not float.
  """
  shape, dtype = stored.shapes[name], stored.dtypes[name]
  wide = shape[1 if name == 'feats' else 0 :]
  if (
      dtype.kind != 'f'
      or len(shape) != _AXES[name]
      or not all(0 < size <= MAX_DIMENSIONS for size in wide)
  ):
    _refuse(
        stored.path,
        f'{name} is {dtype}{list(shape)}, but must be float with'
        f' {_AXES[name]} dimensions and at most {MAX_DIMENSIONS} features',
    )


def check(found: Reference, path: str | os.PathLike) -> None:
  """Checks all parts of a reference.

  Raises:
    ValueError: If they do not fit together, or cannot be statistics of images.
  """
  pairs = {
      'mu and sigma': (found.mean, found.covariance),
      'mu_s and sigma_s': (found.spatial_mean, found.spatial_covariance),
  }
  for names, (mean, covariance) in pairs.items():
    if (mean is None) != (covariance is None):
      _refuse(path, f'one of {names} is missing')
    if mean is not None and covariance is not None:
      _check_moments(mean, covariance, names, path)
  if found.features is not None:
    _check_features(found.features, found.mean, path)
  if (images := found.images) is not None and (
      images.dtype != np.uint8
      or len(images.shape) != 4
      or images.shape[3] != 3
      or 0 in images.shape
  ):
    _refuse(
        path,
        f'arr_0 is {images.dtype}{list(images.shape)}, but images must be'
        ' uint8[N, Y, X, 3]',
    )
  if found.count is not None and (
      not isinstance(found.count, int) or found.count < 1
  ):
    _refuse(path, f'the number of images is {found.count!r}')


def _check_moments(
    mean: np.ndarray,
    covariance: np.ndarray,
    names: str,
    path: str | os.PathLike,
) -> None:
  if mean.ndim != 1 or covariance.shape != 2 * mean.shape:
    _refuse(
        path,
        f'{names} have the shapes {list(mean.shape)} and'
        f' {list(covariance.shape)}, but must have [D] and [D, D]',
    )
  if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
    _refuse(path, f'{names} have values that are not finite')
  variances = np.diagonal(covariance)
  if variances.min() < 0:
    at = int(variances.argmin())
    _refuse(path, f'{names} have a negative variance, of feature {at}')
  difference = np.abs(covariance - covariance.T).max()
  if difference > _ASYMMETRY * variances.max():
    _refuse(
        path,
        f'{names} have a covariance that is not symmetric: values differ by up'
        f' to {difference:.3g}',
    )


def _check_features(
    features: np.ndarray, mean: np.ndarray | None, path: str | os.PathLike
) -> None:
  if features.ndim != 2 or features.dtype.kind != 'f' or not features.size:
    _refuse(
        path,
        f'features are {features.dtype}{list(features.shape)}, but must be'
        ' float[N, D]',
    )
  if mean is not None and features.shape[1:] != mean.shape:
    _refuse(
        path,
        f'mu has {len(mean)} features and feats has {features.shape[1]}',
    )
  if not np.isfinite(features).all():
    row = int(np.argmin(np.isfinite(features).all(axis=1)))
    _refuse(path, f'features have values that are not finite, first in {row=}')


def _refuse(path: str | os.PathLike, what: str) -> NoReturn:
  raise ValueError(
      f'--reference={path} cannot be used: {what}. Download or write it again.'
  )
