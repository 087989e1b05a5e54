"""Reads image files: JPEG, PNG and WebP, from regular files, of a limited size.

A name proves nothing: whoever prepares a folder decides what its files hold.
Pillow knows some 40 formats, and some of them start other programs. So only the
three formats are tried, whatever the extension.
"""

from collections.abc import Iterator
import contextlib
import io
import os
import re
import stat
from typing import IO
import warnings

from etils import epath
import numpy as np
from PIL import Image

from rq_jax import files
from rq_jax.config import sections

EXTENSIONS = frozenset({'.jpg', '.jpeg', '.png', '.webp'})
FORMATS = ('JPEG', 'PNG', 'WEBP')

_KINDS = (
    (stat.S_ISDIR, 'a folder'),
    (stat.S_ISFIFO, 'a FIFO'),
    (stat.S_ISSOCK, 'a socket'),
    (stat.S_ISCHR, 'a device'),
    (stat.S_ISBLK, 'a device'),
)

# Pillow warns from half of its own limit on. Here `max_pixels` decides, which
# may be set above that.
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)


def read(
    path: epath.PathLike,
    *,
    max_pixels: int = sections.DEFAULT_MAX_PIXELS,
) -> np.ndarray:
  """The pixels of an image file in RGB, uint8[h, w, 3].

  Transparency is dropped; 16-bit grey is reduced to 8 bit. Of an animation, the
  first frame is read.

  Args:
    path: The file, local or remote; a link to a regular file will do.
    max_pixels: Larger images are refused before any pixel is decoded.

  Raises:
    ValueError: If the file is missing, not regular, damaged, too large, or
      neither JPEG, PNG nor WebP; the message names it.
  """
  with _open(path) as file:
    with _reworded(path, max_pixels):
      image = Image.open(file, formats=FORMATS)
    with image:
      width, height = image.size
      if width * height > max_pixels:
        raise _too_large(path, f'{width} x {height}', max_pixels)
      with _reworded(path, max_pixels):
        return _rgb(image)


@contextlib.contextmanager
def _reworded(path: epath.PathLike, max_pixels: int) -> Iterator[None]:
  """Names the file in whatever Pillow raises."""
  try:
    yield
  except Image.UnidentifiedImageError as error:
    raise ValueError(
        f'{path} is no JPEG, PNG or WebP file, or its header is damaged.'
        ' Convert, repair or remove it.'
    ) from error
  except (
      Image.DecompressionBombError,
      Image.DecompressionBombWarning,  # Where warnings are errors.
  ) as error:
    count = re.search(r'\d+', str(error))
    size = count[0] if count else 'too many'
    raise _too_large(path, size, max_pixels) from error
  # Decoders raise errors of many types for broken files.
  except Exception as error:
    raise _unreadable(path, error) from error


@contextlib.contextmanager
def _open(path: epath.PathLike) -> Iterator[IO[bytes]]:
  """An image file, opened for reading."""
  if files.is_local(path):
    with _open_local(path) as file:
      yield file
    return
  try:
    # At once: small reads of a remote file take a request each.
    content = epath.Path(path).read_bytes()
  except Exception as error:  # Each kind of storage has its own.
    raise _unreadable(path, error) from error
  yield io.BytesIO(content)


def _open_local(path: epath.PathLike) -> IO[bytes]:
  """Opens a regular file; never waits for anything else, nor reads from it."""
  try:
    _check_regular(path, os.stat(path).st_mode)
    # It may have been replaced since: do not wait for a FIFO's writer.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 'rb')
  except FileNotFoundError as error:
    what = 'a link to a file that is missing'
    raise ValueError(
        f'{path} is {what if os.path.islink(path) else "missing"}. Restore the'
        ' file, or remove its name from the folder.'
    ) from error
  except OSError as error:
    raise ValueError(
        f'{path} cannot be opened: {error.strerror}. Change its permissions or'
        ' remove it.'
    ) from error
  try:
    _check_regular(path, os.fstat(file.fileno()).st_mode)
  except BaseException:
    file.close()
    raise
  return file


def _check_regular(path: epath.PathLike, mode: int) -> None:
  if not stat.S_ISREG(mode):
    kind = next((name for is_kind, name in _KINDS if is_kind(mode)), 'no file')
    raise ValueError(f'{path} is not a regular file, but {kind}. Remove it.')


def _unreadable(path: epath.PathLike, error: Exception) -> ValueError:
  return ValueError(
      f'{path} cannot be read as an image ({type(error).__name__}: {error}).'
      ' Repair or remove the file.'
  )


def _too_large(path: epath.PathLike, size: str, max_pixels: int) -> ValueError:
  return ValueError(
      f'{path} has {size} pixels by its header, and --config.data.max_pixels='
      f'{max_pixels} are read at most. Reduce or remove the image, or raise'
      f' --config.data.max_pixels, up to {sections.PILLOW_MAX_PIXELS}.'
  )


def _rgb(image: Image.Image) -> np.ndarray:
  """Decodes an image: -> uint8[h, w, 3]."""
  if image.mode.startswith('I'):
    return np.asarray(_eight_bit(image).convert('RGB'))
  if image.mode == 'P':
    # Pillow warns of palettes with transparency unless told what it means.
    image = image.convert('RGBA')
  return np.asarray(image.convert('RGB'))


def _eight_bit(image: Image.Image) -> Image.Image:
  """16-bit grey as 8-bit grey; Pillow's own conversion saturates instead."""
  return Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
