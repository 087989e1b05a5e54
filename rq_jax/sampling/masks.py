"""Masks of codes and of the pixels that belong to them."""

import numpy as np

from rq_jax.config import sizes
from rq_jax.models import rqtransformer
from rq_jax.typing import Array


def expand(
    prior: rqtransformer.RQTransformer, keep: Array, count: int
) -> np.ndarray:
  """Expands a mask of codes to all images: -> bool[B, T, D].

  Args:
    prior: The model of the codes.
    keep: bool[H, W] for whole stacks, bool[H, W, D], or either with a leading
      B. A shape that fits both [H, W, D] and [B, H, W] means [H, W, D].
    count: B, the number of images.

  Raises:
    ValueError: If the mask has another shape or dtype.
  """
  keep = np.asarray(keep)
  h, w, d = prior.code_shape
  ways = (
      ((h, w), keep[None, ..., None]),
      ((h, w, d), keep[None]),
      ((count, h, w), keep[..., None]),
      ((count, h, w, d), keep),
  )
  way = next((x for shape, x in ways if shape == keep.shape), None)
  if way is None or keep.dtype != bool:
    shapes = ', '.join(str(list(shape)) for shape, _ in ways)
    raise ValueError(
        f'keep must be bool with one of the shapes {shapes}; got {keep.dtype}'
        f' with shape {list(keep.shape)}.'
    )
  return np.broadcast_to(way, (count, h, w, d)).reshape(count, h * w, d)


def cells(
    code_shape: tuple[int, int, int],
    image_size: sizes.ImageSize,
    redraw: Array,
    count: int,
) -> np.ndarray:
  """Positions whose cell contains a pixel of a mask: -> bool[B, H, W].

  Args:
    code_shape: H, W, D of the code map.
    image_size: Size of the images, Y, X; or one number for squares.
    redraw: Pixels, bool[Y, X] or bool[B, Y, X].
    count: B, the number of images.

  Raises:
    ValueError: If the mask has another shape or dtype.
  """
  redraw = np.asarray(redraw)
  height, width = sizes.pair(image_size)
  shape = (height, width)
  if redraw.shape not in (shape, (count, *shape)) or redraw.dtype != bool:
    raise ValueError(
        f'redraw must be bool with shape {list(shape)} or {[count, *shape]},'
        f' one value per pixel; got {redraw.dtype} with shape'
        f' {list(redraw.shape)}.'
    )
  h, w, _ = code_shape
  redraw = np.broadcast_to(redraw, (count, *shape))
  patches = redraw.reshape(count, h, height // h, w, width // w)
  return np.asarray(patches.any(axis=(2, 4)))


def pixels(chosen: np.ndarray, image_size: sizes.ImageSize) -> np.ndarray:
  """Pixels in the cells of positions: bool[B, H, W] -> bool[B, Y, X, 1]."""
  _, h, w = chosen.shape
  height, width = sizes.pair(image_size)
  rows = np.repeat(chosen, height // h, axis=1)
  return np.repeat(rows, width // w, axis=2)[..., None]
