"""Pictures of images for notebooks."""

import math

import numpy as np
from numpy import typing as npt
from PIL import Image

from rq_jax.reports import pictures

_SMALLEST = 64  # Pixels; smaller images are enlarged.


def grid(
    images: npt.ArrayLike,
    *,
    columns: int | None = None,
    scale: int | None = None,
) -> Image.Image:
  """One picture of many images, which a notebook shows and `save` writes.

  Args:
    images: uint8[N, H, W, 3], or float32 in [-1, 1]; one image without N, too.
    columns: Images per row; about as many as rows if None.
    scale: Whole number by which to enlarge every pixel; if None, small images
      are enlarged to at least 64 pixels.

  Raises:
    ValueError: If the images have another shape or dtype, or a number is not
      at least 1.
  """
  images = np.asarray(images)
  if images.ndim == 3:
    images = images[None]
  if images.ndim != 4 or images.shape[-1] != 3 or not images.size:
    raise ValueError(
        f'images has shape {list(images.shape)}, but must be [N, H, W, 3] with'
        ' at least one image. Decode code maps with Tokenizer.decode.'
    )
  is_float = np.issubdtype(images.dtype, np.floating)
  if images.dtype != np.uint8 and not is_float:
    raise ValueError(
        f'images has dtype {images.dtype}, but must be uint8, or float32 in'
        ' [-1, 1]. Convert it.'
    )
  if columns is None:
    columns = math.ceil(math.sqrt(len(images)))
  if scale is None:
    scale = math.ceil(_SMALLEST / min(images.shape[1:3]))
  for name, value in ('columns', columns), ('scale', scale):
    if not isinstance(value, int | np.integer) or value < 1:
      raise ValueError(f'{name}={value} must be a whole number of at least 1.')
  if is_float:
    pixels = np.clip(images.astype(np.float32) * 127.5 + 127.5, 0, 255)
    images = np.round(pixels).astype(np.uint8)
  images = images.repeat(scale, axis=1).repeat(scale, axis=2)
  return Image.fromarray(pictures.grid(images, columns))
