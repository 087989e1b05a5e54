"""Grids of images, and PNG files."""

import io
import math

from etils import epath
import numpy as np
from PIL import Image

from rq_jax import files

# A grey that stands out from light, dark and coloured images alike.
BORDER = 56
_NO_CHANGE = 128


def grid(images: np.ndarray, columns: int, padding: int = 2) -> np.ndarray:
  """Arranges images in one picture, row by row.

  Args:
    images: uint8[N, H, W, C], N >= 1.
    columns: Images per row. Free places in the last row stay grey.
    padding: Width of the grey border around every image, in pixels.

  Returns:
    uint8[rows * (H + padding) + padding, columns * (W + padding) + padding, C].

  Raises:
    ValueError: If the images have another type or shape, if there are none, or
      if `columns` is less than 1.
  """
  if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
    raise ValueError(
        f'The images are {images.dtype}{list(images.shape)}, but a grid needs'
        ' uint8[N, H, W, C] with at least one image. Convert them.'
    )
  if columns < 1:
    raise ValueError(f'columns={columns} must be at least 1. Change columns.')
  n, height, width, channels = images.shape
  rows = -(-n // columns)
  cells = np.full(
      (rows * columns, height + padding, width + padding, channels),
      BORDER,
      np.uint8,
  )
  cells[:n, padding:, padding:] = images
  picture = cells.reshape(rows, columns, *cells.shape[1:])
  picture = picture.transpose(0, 2, 1, 3, 4).reshape(
      rows * (height + padding), columns * (width + padding), channels
  )
  # Every cell has its upper and left border; this adds the lower and right one.
  return np.pad(
      picture,
      ((0, padding), (0, padding), (0, 0)),
      constant_values=BORDER,
  )


def change(before: np.ndarray, after: np.ndarray, scale: float) -> np.ndarray:
  """How images change, as grey plus the scaled difference: uint8[...] -> same.

  Args:
    before: uint8[...].
    after: uint8[...].
    scale: Factor of the difference. What leaves the range is clipped.
  """
  difference = after.astype(np.int32) - before
  return np.clip(_NO_CHANGE + scale * difference, 0, 255).astype(np.uint8)


def visible_scale(before: np.ndarray, after: np.ndarray) -> float:
  """The largest power of two for which `change` clips nothing; 1 for equals."""
  largest = np.abs(after.astype(np.int32) - before).max()
  # The grey is in the middle of 256 levels, so half of 255 fits on both sides.
  return 2.0 ** math.floor(math.log2(127.5 / largest)) if largest else 1.0


def png_bytes(image: np.ndarray) -> bytes:
  """Encodes a picture as the contents of a PNG file.

  Args:
    image: uint8[H, W] or uint8[H, W, 1] (grey), or uint8[H, W, 3] (RGB).

  Raises:
    ValueError: If the image has another type or shape.
  """
  shape = image.shape
  grey = len(shape) == 2 or (len(shape) == 3 and shape[2] == 1)
  if image.dtype != np.uint8 or not (grey or shape[2:] == (3,)):
    raise ValueError(
        f'The image is {image.dtype}{list(shape)}, but a PNG file needs'
        ' uint8[H, W], uint8[H, W, 1] or uint8[H, W, 3]. Convert it.'
    )
  pixels = image.reshape(shape[:2]) if grey else image
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, 'PNG', optimize=True)
  return buffer.getvalue()


def write_png(path: epath.PathLike, image: np.ndarray) -> None:
  """Writes a picture to a local or remote PNG file, whole or not at all.

  Creates the folder if it is missing.

  Args:
    path: The file.
    image: The picture; see `png_bytes`.

  Raises:
    DiskFullError: If there is no room for the file.
  """
  path = epath.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  contents = png_bytes(image)
  with files.whole(path, needs=len(contents)) as file:
    file.write(contents)
