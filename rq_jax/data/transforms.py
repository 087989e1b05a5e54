"""Turns pictures of any size into the float images that models read.

Training and evaluation use the transforms of the official code: those of
torchvision on Pillow images, bilinear and antialiased. Pillow computes them
here, too; training may use OpenCV instead, which is faster. Randomness comes
from a NumPy generator that belongs to the example.
"""

import math

import numpy as np
from PIL import Image

from rq_jax.data import opencv

CROPS = ('center', 'random', 'random_resized')

# Fraction of the picture's area that a random resized crop keeps.
_SCALE = (0.75, 1.0)
_ATTEMPTS = 10


def train(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    image_size: int,
    crop: str = 'center',
    flip: bool = False,
    decoder: str = 'pillow',
) -> np.ndarray:
  """Turns a picture into a training image: uint8[h, w, 3] -> float32[S, S, 3].

  Args:
    image: uint8[h, w, 3], of any size.
    rng: Draws the crop and the flip. The same state gives the same result.
    image_size: Side length of the result, S.
    crop: How to crop. 'center' and 'random' resize the short side to S and then
      crop (LSUN and ImageNet in the official code); 'random_resized' resizes a
      random square of 75 to 100 % of the area (FFHQ).
    flip: Whether to mirror the image left to right with probability 0.5.
    decoder: Library that resizes, 'pillow' or 'opencv'; see `opencv.resize`.

  Returns:
    float32[S, S, 3] in [-1, 1].

  Raises:
    ValueError: If `crop` is not one of `CROPS`, or the image has another type
      or shape.
  """
  _check(image)
  if crop == 'random_resized':
    image = _random_resized_crop(image, rng, image_size, decoder)
  elif crop == 'random':
    image = _resize_short_side(image, image_size, decoder)
    slack = np.array(image.shape[:2]) - image_size
    top, left = rng.integers(slack + 1)
    image = image[top : top + image_size, left : left + image_size]
  elif crop == 'center':
    image = _resize_short_side(image, image_size, decoder)
    image = _center_crop(image, image_size)
  else:
    raise ValueError(
        f'config.data.crop={crop!r} is not one of {", ".join(CROPS)}. Change'
        ' --config.data.crop.'
    )
  if flip and rng.random() < 0.5:
    image = image[:, ::-1]
  return _to_float(image)


def evaluate(image: np.ndarray, *, image_size: int) -> np.ndarray:
  """Takes the central square of a picture: uint8[h, w, 3] -> float32[S, S, 3].

  Resizes the short side to S = `image_size` and crops the center. Pillow always
  does this, so that evaluations and caches do not depend on the decoder.

  Returns:
    float32[S, S, 3] in [-1, 1].

  Raises:
    ValueError: If the image has another type or shape.
  """
  _check(image)
  image = _resize_short_side(image, image_size)
  return _to_float(_center_crop(image, image_size))


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


def _resize_short_side(
    image: np.ndarray, size: int, decoder: str = 'pillow'
) -> np.ndarray:
  """Resizes the short side to `size`, in the same way as torchvision."""
  height, width = image.shape[:2]
  # torchvision rounds the long side down.
  if height < width:
    return _resize(image, size, int(size * width / height), decoder)
  return _resize(image, int(size * height / width), size, decoder)


def _center_crop(image: np.ndarray, size: int) -> np.ndarray:
  # Python's `round` rounds half to even, as does torchvision's CenterCrop.
  top, left = (round((side - size) / 2) for side in image.shape[:2])
  return image[top : top + size, left : left + size]


def _random_resized_crop(
    image: np.ndarray, rng: np.random.Generator, size: int, decoder: str
) -> np.ndarray:
  """Crops a random square as torchvision's RandomResizedCrop with ratio 1."""
  height, width = image.shape[:2]
  for _ in range(_ATTEMPTS):
    side = round(math.sqrt(height * width * rng.uniform(*_SCALE)))
    if side <= min(height, width):
      top = rng.integers(height - side + 1)
      left = rng.integers(width - side + 1)
      square = image[top : top + side, left : left + side]
      break
  else:
    # The picture is too long for such a square; take the largest that fits.
    square = _center_crop(image, min(height, width))
  return _resize(square, size, size, decoder)
