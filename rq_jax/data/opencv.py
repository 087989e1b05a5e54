"""OpenCV, which decodes JPEG files and resizes images faster than Pillow.

It is optional. Decoded pixels are those of Pillow, because both use
libjpeg-turbo; resized ones differ, see `resize`.
"""

import functools
from typing import Any

import numpy as np


@functools.cache
def load() -> Any:
  """Imports OpenCV, limited to one thread: the loader has threads of its own.

  Raises:
    ImportError: If OpenCV is not installed.
  """
  try:
    import cv2
  except ImportError as error:
    raise ImportError(
        "config.data.decoder='opencv' needs OpenCV. Install it with"
        " `pip install 'rq_jax[fast]'`, or set --config.data.decoder=pillow."
    ) from error
  cv2.setNumThreads(1)
  return cv2


def decode(content: bytes) -> np.ndarray | None:
  """Decodes a file, not rotated: -> uint8[h, w, 3], or None if it is damaged.

  Args:
    content: A grey or RGB JPEG file. OpenCV reads other kinds differently from
      Pillow.
  """
  cv2 = load()
  flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
  try:
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags)
  except cv2.error:
    return None


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
  """Resizes an image: uint8[h, w, 3] -> uint8[height, width, 3].

  Shrinks by averaging areas and enlarges bilinearly. Like Pillow's filter, this
  is antialiased, but it is sharper: pixels of photographs differ by up to 3 of
  255 levels on average.
  """
  cv2 = load()
  shrinks = height < image.shape[0] or width < image.shape[1]
  return cv2.resize(
      image,
      (width, height),
      interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
  )
