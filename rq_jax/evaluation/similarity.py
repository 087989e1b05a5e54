"""PSNR and SSIM of pairs of images."""

import numpy as np

_PEAK = 255.0
# Wang et al. (2004): window, and the constants for a peak of 255.
_SIZE = 11
_SIGMA = 1.5
_C1 = (0.01 * _PEAK) ** 2
_C2 = (0.03 * _PEAK) ** 2


def psnr(images: np.ndarray, others: np.ndarray) -> np.ndarray:
  """Peak signal-to-noise ratio in dB, for a peak of 255; infinite if equal.

  Args:
    images: uint8[B, Y, X, C].
    others: uint8[B, Y, X, C].

  Returns:
    float64[B], from the mean squared error over the pixels and channels of each
    image. A mean over images, as papers state it, is that of these values.

  Raises:
    ValueError: If the images differ in shape, or are not uint8.
  """
  images, others = _checked(images, others)
  error = np.square(images - others).mean(axis=(1, 2, 3))
  with np.errstate(divide='ignore'):
    return 10 * np.log10(_PEAK**2 / error)


def ssim(images: np.ndarray, others: np.ndarray) -> np.ndarray:
  """Structural similarity (Wang et al. 2004).

  The window is Gaussian, 11 x 11 pixels with a standard deviation of 1.5, and
  lies completely within the image. Channels are compared one by one and
  averaged, as scikit-image does with `gaussian_weights=True` and
  `use_sample_covariance=False`; Wang et al. compare grey images.

  Args:
    images: uint8[B, Y, X, C].
    others: uint8[B, Y, X, C].

  Returns:
    float64[B].

  Raises:
    ValueError: If the images differ in shape, are not uint8, or are smaller
      than the window.
  """
  images, others = _checked(images, others)
  if min(images.shape[1:3]) < _SIZE:
    raise ValueError(
        f'SSIM needs images of at least {_SIZE} x {_SIZE} pixels, but these '
        f'have {images.shape[1]} x {images.shape[2]}. Leave out this metric.'
    )
  return np.array([_ssim(x, y) for x, y in zip(images, others)])


def _checked(images, others):
  """Pairs of images in float64, after a check."""
  for array in (images, others):
    if array.dtype != np.uint8 or array.ndim != 4:
      raise ValueError(
          f'Images must be uint8[B, Y, X, C], but are {array.dtype}'
          f'{list(array.shape)}.'
      )
  if images.shape != others.shape:
    raise ValueError(
        f'The images have shapes {list(images.shape)} and '
        f'{list(others.shape)}, but are compared pixel by pixel. Use images of '
        'the same size.'
    )
  return images.astype(np.float64), others.astype(np.float64)


def _ssim(x, y):
  """Structural similarity of two images: float64[Y, X, C] twice."""
  mean_x, mean_y = _blurred(x), _blurred(y)
  variance_x = _blurred(x * x) - mean_x * mean_x
  variance_y = _blurred(y * y) - mean_y * mean_y
  covariance = _blurred(x * y) - mean_x * mean_y
  light = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
  structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
  return (light * structure).mean()


def _blurred(image: np.ndarray) -> np.ndarray:
  """Weighted means in the windows: [Y, X, C] -> [Y - 10, X - 10, C]."""
  offsets = np.arange(_SIZE) - _SIZE // 2
  weights = np.exp(-np.square(offsets / _SIGMA) / 2)
  weights /= weights.sum()
  for axis in (0, 1):
    windows = np.lib.stride_tricks.sliding_window_view(image, _SIZE, axis)
    image = windows @ weights
  return image
