"""Turns pictures of any size into the float images that models read.

Training and evaluation use the transforms of the official code: those of
torchvision on Pillow images, bilinear and antialiased. Pillow computes them
here, too; training may use OpenCV instead, which is faster. Randomness comes
from a NumPy generator that belongs to the example.
"""

import math

import numpy as np
from PIL import Image

from rq_jax.config import sizes
from rq_jax.data import opencv

CROPS = ('center', 'random', 'random_resized')

# Fraction of the picture's area that a random resized crop keeps.
_SCALE = (0.75, 1.0)
_ATTEMPTS = 10


def train(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    image_size: sizes.ImageSize,
    crop: str = 'center',
    flip: bool = False,
    decoder: str = 'pillow',
) -> np.ndarray:
  """Turns a picture into a training image: uint8[h, w, 3] -> float32[Y, X, 3].

  Args:
    image: uint8[h, w, 3], of any size.
    rng: Draws the crop and the flip. The same state gives the same result.
    image_size: Size of the result, Y, X; or one number for squares.
    crop: How to crop. 'center' and 'random' resize the picture so that it just
      covers Y x X pixels, and then crop (LSUN and ImageNet in the official
      code); 'random_resized' resizes a random crop of the shape of the result
      that has 75 to 100 % of the picture's area (FFHQ).
    flip: Whether to mirror the image left to right with probability 0.5.
    decoder: Library that resizes, 'pillow' or 'opencv'; see `opencv.resize`.

  Returns:
    float32[Y, X, 3] in [-1, 1].

  Raises:
    ValueError: If `crop` is not one of `CROPS`, or the image has another type
      or shape.
  """
  _check(image)
  size = sizes.pair(image_size)
  if crop == 'random_resized':
    image = _random_resized_crop(image, rng, size, decoder)
  elif crop == 'random':
    image = cover(image, size, decoder)
    top, left = rng.integers(np.subtract(image.shape[:2], size) + 1)
    image = image[top : top + size[0], left : left + size[1]]
  elif crop == 'center':
    image = center_crop(cover(image, size, decoder), size)
  else:
    raise ValueError(
        f'config.data.crop={crop!r} is not one of {", ".join(CROPS)}. Change'
        ' --config.data.crop.'
    )
  if flip and rng.random() < 0.5:
    image = image[:, ::-1]
  return _to_float(image)


def evaluate(image: np.ndarray, *, image_size: sizes.ImageSize) -> np.ndarray:
  """Takes the center of a picture: uint8[h, w, 3] -> float32[Y, X, 3].

  Resizes the picture so that it just covers Y x X pixels, and crops the center.
  Pillow always does this, so that evaluations and caches do not depend on the
  decoder.

  Args:
    image: uint8[h, w, 3], of any size.
    image_size: Size of the result, Y, X; or one number for squares.

  Returns:
    float32[Y, X, 3] in [-1, 1].

  Raises:
    ValueError: If the image has another type or shape.
  """
  _check(image)
  size = sizes.pair(image_size)
  return _to_float(center_crop(cover(image, size), size))


def cover(
    image: np.ndarray, size: tuple[int, int], decoder: str = 'pillow'
) -> np.ndarray:
  """Resizes a picture so that one side fits and the other is long enough.

  For squares, this resizes the short side, in the same way as torchvision.

  Args:
    image: uint8[h, w, 3], of any size.
    size: Height and width to cover.
    decoder: Library that resizes, 'pillow' or 'opencv'; see `opencv.resize`.
  """
  return _resize(image, *covering_size(image.shape[:2], size), decoder)


def covering_size(
    shape: tuple[int, int], size: tuple[int, int]
) -> tuple[int, int]:
  """Height and width at which a picture of this shape just covers `size`."""
  (height, width), (high, wide) = shape, size
  # torchvision rounds the longer side down.
  if high * width > wide * height:
    return high, int(high * width / height)
  return int(wide * height / width), wide


def _check(image: np.ndarray) -> None:
  if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
    raise ValueError(
        f'The image is {image.dtype}{list(image.shape)}, but must be'
        ' uint8[h, w, 3]. Convert it.'
    )


def _to_float(image: np.ndarray) -> np.ndarray:
  return image.astype(np.float32) / np.float32(127.5) - np.float32(1)


def _resize(
    image: np.ndarray, height: int, width: int, decoder: str
) -> np.ndarray:
  if image.shape[:2] == (height, width):
    return image
  if decoder == 'opencv':
    return opencv.resize(image, height, width)
  resized = Image.fromarray(image).resize(
      (width, height), Image.Resampling.BILINEAR
  )
  return np.asarray(resized)


def center_crop(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Crops the center of an image that is at least as large."""
  # Python's `round` rounds half to even, as does torchvision's CenterCrop.
  top, left = (round((a - b) / 2) for a, b in zip(image.shape[:2], size))
  return image[top : top + size[0], left : left + size[1]]


def _random_resized_crop(
    image: np.ndarray,
    rng: np.random.Generator,
    size: tuple[int, int],
    decoder: str,
) -> np.ndarray:
  """Crops at random, as torchvision's RandomResizedCrop with a fixed ratio."""
  height, width = image.shape[:2]
  ratio = size[1] / size[0]
  for _ in range(_ATTEMPTS):
    area = height * width * rng.uniform(*_SCALE)
    high = round(math.sqrt(area / ratio))
    wide = round(math.sqrt(area * ratio))
    if 0 < high <= height and 0 < wide <= width:
      top = rng.integers(height - high + 1)
      left = rng.integers(width - wide + 1)
      cropped = image[top : top + high, left : left + wide]
      break
  else:
    # The picture's shape is too different; take the largest crop that fits.
    high = max(1, min(height, round(width / ratio)))
    wide = max(1, min(width, round(height * ratio)))
    cropped = center_crop(image, (high, wide))
  return _resize(cropped, *size, decoder)
