"""Decodes images that Pillow has opened: colors, rotation, files cut short."""

from collections.abc import Callable
import io

import numpy as np
from PIL import Image

# The EXIF tag for how viewers must turn and mirror the pixels.
ORIENTATION = 0x0112
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}

# Possible continuations of a JPEG file that was cut off. Each has data after
# every restart marker (D0 to D7), in case the file was cut before one.
_ENDINGS = tuple(
    filler * 16
    + b''.join(bytes([0xFF, m]) + filler * 16 for m in range(0xD0, 0xD8))
    for filler in (b'\0\0\0\0', b'\xaa\xaa\xaa\xaa', b'\x35\xc9\x5a\x93')
)
_END_OF_IMAGE = b'\xff\xd9'


def rgb(image: Image.Image) -> np.ndarray:
  """Decodes an image to RGB: -> uint8[h, w, 3].

  Transparency is dropped: the colors are those stored in the file, even where
  it is transparent. 16-bit grey is reduced to 8 bits. CMYK is converted without
  its color profile.
  """
  if image.mode.startswith('I'):
    return np.asarray(_eight_bit(image).convert('RGB'))
  if image.mode == 'P':
    # Pillow warns about palettes with transparency unless it converts to RGBA.
    image = image.convert('RGBA')
  return np.asarray(image.convert('RGB'))


def _eight_bit(image: Image.Image) -> Image.Image:
  """Scales 16-bit grey to 8 bits; Pillow's own conversion would saturate."""
  return Image.fromarray((np.asarray(image) // 256).astype(np.uint8))


def rgb_of_cut_jpeg(content: bytes) -> np.ndarray | None:
  """Decodes a JPEG file without its end: -> uint8[h, w, 3], or None.

  A file that lacks only its last bytes may hold all pixels. If so, the decoded
  pixels are the same, whatever bytes follow. The result is None if they differ,
  or if the file is progressive: such a file may lack whole scans, and then the
  image has too little detail.
  """
  # A single FF would make a marker of the next byte.
  content = content.rstrip(b'\xff')
  found = []
  for ending in _ENDINGS:
    file = io.BytesIO(content + ending + _END_OF_IMAGE)
    image = Image.open(file, formats=('JPEG',))
    if 'progressive' in image.info:
      return None
    found.append(rgb(image))
  same = all(np.array_equal(found[0], other) for other in found[1:])
  return found[0] if same else None


def orientation(image: Image.Image) -> int:
  """The EXIF orientation of an opened image.

  Returns:
    2 to 8; or 1, which changes nothing, if the image has no orientation, or one
    that is invalid or cannot be read.
  """
  try:
    found = image.getexif().get(ORIENTATION)
  except Exception:  # Pillow raises errors of many types for damaged EXIF data.
    return 1
  return found if isinstance(found, int) and found in _TURNS else 1


def is_turned(image: Image.Image) -> bool:
  """Whether `upright` exchanges the height and the width of an opened image."""
  return orientation(image) >= 5


def upright(pixels: np.ndarray, image: Image.Image) -> np.ndarray:
  """Turns and mirrors pixels according to the EXIF orientation of their image.

  Args:
    pixels: uint8[h, w, 3], as stored.
    image: The opened image.

  Returns:
    uint8[h, w, 3] or uint8[w, h, 3].
  """
  turn = _TURNS.get(orientation(image))
  return pixels if turn is None else np.ascontiguousarray(turn(pixels))
