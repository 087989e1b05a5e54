"""Reads image files: JPEG, PNG and WebP, from regular files of limited size.

A file's extension is not trusted: whoever prepares a folder decides what its
files contain. Pillow knows some 40 formats, and decoding some of them starts
other programs. So only the three formats are tried, whatever the extension.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
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
from rq_jax.data import decoding
from rq_jax.data import file_names
from rq_jax.data import opencv

EXTENSIONS = frozenset({'.jpg', '.jpeg', '.png', '.webp'})
FORMATS = ('JPEG', 'PNG', 'WEBP')

_KINDS = (
    (stat.S_ISDIR, 'a folder'),
    (stat.S_ISFIFO, 'a FIFO'),
    (stat.S_ISSOCK, 'a socket'),
    (stat.S_ISCHR, 'a device'),
    (stat.S_ISBLK, 'a device'),
)

# Pillow warns about images above half of its own limit. Here, `max_pixels` is
# the limit, and it may be set higher than that.
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)
# Damaged EXIF data is ignored, and there may be many such files.
warnings.filterwarnings('ignore', module=r'PIL\.TiffImagePlugin')


class BrokenImageError(ValueError):
  """An image that cannot be read; the message names it and the reason."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reader:
  """Reads images as RGB, uint8[h, w, 3].

  Drops transparency, reduces 16-bit grey to 8 bits, and reads the first frame
  of an animation. A file that lacks its end is read if it holds all pixels.

  Attributes:
    max_pixels: Limit on width times height. Larger images are refused before
      any pixel is decoded.
    rotate: Whether to turn and mirror images by their EXIF orientation.
    decoder: 'pillow', or 'opencv' to decode JPEG files with OpenCV: the pixels
      are the same. Pillow still reads headers, other formats and CMYK, and
      decides about damaged files.

  Raises:
    ImportError: On creation, if OpenCV is asked for and not installed.
  """

  max_pixels: int = sections.DEFAULT_MAX_PIXELS
  rotate: bool = False
  decoder: str = 'pillow'

  def __post_init__(self):
    if self.decoder == 'opencv':
      opencv.load()

  def read(self, path: epath.PathLike) -> np.ndarray:
    """Reads a file, local or remote, or a link to a regular file.

    Raises:
      BrokenImageError: If the file is missing, not a regular file, damaged, too
        large, or neither JPEG, PNG nor WebP.
    """
    with _open(path) as file:
      return self._decode(file, path)

  def decode(self, content: bytes, name: str) -> np.ndarray:
    """Decodes the content of a file.

    Args:
      content: The bytes of the file.
      name: Where they are from, for errors.

    Raises:
      BrokenImageError: If the content is damaged, too large, or neither JPEG,
        PNG nor WebP.
    """
    return self._decode(io.BytesIO(content), name)

  def size(self, path: epath.PathLike) -> tuple[int, int]:
    """Height and width that `read` gives an image; reads only its header.

    Raises:
      BrokenImageError: If the file is missing, not a regular file, too large,
        or neither JPEG, PNG nor WebP.
    """
    with _open(path) as file:
      return self._size(file, path)

  def size_of(self, content: bytes, name: str) -> tuple[int, int]:
    """Height and width that `decode` gives an image; see `size`."""
    return self._size(io.BytesIO(content), name)

  def _decode(self, file: IO[bytes], name: epath.PathLike) -> np.ndarray:
    with self._opened(file, name) as image:
      pixels = self._pixels(image, file)
      return decoding.upright(pixels, image) if self.rotate else pixels

  def _size(self, file: IO[bytes], name: epath.PathLike) -> tuple[int, int]:
    with self._opened(file, name) as image:
      width, height = image.size
      # Squares stay squares. Pillow may decode an image to find its EXIF data.
      turned = self.rotate and width != height and decoding.is_turned(image)
    return (width, height) if turned else (height, width)

  @contextlib.contextmanager
  def _opened(
      self, file: IO[bytes], name: epath.PathLike
  ) -> Iterator[Image.Image]:
    """Yields an image whose header was read; errors in the block name it."""
    limit = self.max_pixels
    with _reworded(name, limit):
      image = Image.open(file, formats=FORMATS)
    with image:
      width, height = image.size
      if width * height > limit:
        raise _too_large(name, f'{width} x {height}', limit)
      with _reworded(name, limit):
        yield image

  def _pixels(self, image: Image.Image, file: IO[bytes]) -> np.ndarray:
    """Decodes an image, not rotated, from the file that it was opened from."""
    is_jpeg = image.format == 'JPEG'
    if self.decoder == 'opencv' and is_jpeg and image.mode in ('RGB', 'L'):
      pixels = opencv.decode(_content(file))
      # OpenCV reads no damaged files, which Pillow will describe below.
      if pixels is not None:
        return pixels
    try:
      return decoding.rgb(image)
    except OSError:  # Pillow's error if a file ends too early.
      pixels = decoding.rgb_of_cut_jpeg(_content(file)) if is_jpeg else None
      if pixels is None:
        raise
      return pixels


def content(path: epath.PathLike) -> bytes:
  """Reads the bytes of a file, without decoding them.

  Args:
    path: The file, local or remote, or a link to a regular file.

  Raises:
    BrokenImageError: If the file is missing, not a regular file, or cannot be
      read.
  """
  with _open(path) as file:
    try:
      return file.read()
    except OSError as error:
      raise _unreadable(path, error) from error


def reader(data: sections.Data) -> Reader:
  """The reader of an experiment's images, given its section `data`."""
  return Reader(
      max_pixels=data.max_pixels,
      rotate=data.exif_rotation,
      decoder=data.decoder,
  )


def _content(file: IO[bytes]) -> bytes:
  """The bytes of a file, which Pillow may have read in part."""
  file.seek(0)
  return file.read()


@contextlib.contextmanager
def _reworded(path: epath.PathLike, max_pixels: int) -> Iterator[None]:
  """Converts all errors of Pillow to errors that name the file."""
  try:
    yield
  except Image.UnidentifiedImageError as error:
    raise BrokenImageError(
        f'{file_names.shown(path)} is not a JPEG, PNG or WebP file, or its'
        ' header is damaged. Convert, repair or remove it.'
    ) from error
  except (
      Image.DecompressionBombError,
      Image.DecompressionBombWarning,  # Raised where warnings are errors.
  ) as error:
    count = re.search(r'\d+', str(error))
    size = count[0] if count else 'too many'
    raise _too_large(path, size, max_pixels) from error
  # Decoders raise errors of many types for damaged files.
  except Exception as error:
    raise _unreadable(path, error) from error


@contextlib.contextmanager
def _open(path: epath.PathLike) -> Iterator[IO[bytes]]:
  """Opens an image file for reading."""
  if files.is_local(path):
    with _open_local(path) as file:
      yield file
    return
  try:
    # Read at once, because each small read of a remote file is a request.
    content = epath.Path(path).read_bytes()
  except Exception as error:  # Each kind of storage raises its own errors.
    raise _unreadable(path, error) from error
  yield io.BytesIO(content)


def _open_local(path: epath.PathLike) -> IO[bytes]:
  """Opens a regular file; never reads from anything else or waits for it."""
  try:
    _check_regular(path, os.stat(path).st_mode)
    # The file may have been replaced since the check, for example by a FIFO;
    # O_NONBLOCK does not wait for its writer.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 'rb')
  except FileNotFoundError as error:
    is_link = os.path.islink(path)
    what = 'a link to a file that is missing' if is_link else 'missing'
    raise BrokenImageError(
        f'{file_names.shown(path)} is {what}. Restore the file, or remove its'
        ' entry from the folder.'
    ) from error
  except OSError as error:
    raise BrokenImageError(
        f'{file_names.shown(path)} cannot be opened: {error.strerror}. Change'
        ' its permissions, or remove it.'
    ) from error
  try:
    _check_regular(path, os.fstat(file.fileno()).st_mode)
  except BaseException:
    file.close()
    raise
  return file


def _check_regular(path: epath.PathLike, mode: int) -> None:
  if not stat.S_ISREG(mode):
    kind = next(
        (name for is_kind, name in _KINDS if is_kind(mode)), 'something else'
    )
    raise BrokenImageError(
        f'{file_names.shown(path)} is not a regular file, but {kind}. Remove'
        ' it.'
    )


def _unreadable(path: epath.PathLike, error: Exception) -> BrokenImageError:
  return BrokenImageError(
      f'{file_names.shown(path)} cannot be read as an image'
      f' ({type(error).__name__}: {error}). Repair or remove the file.'
  )


def _too_large(
    path: epath.PathLike, size: str, max_pixels: int
) -> BrokenImageError:
  return BrokenImageError(
      f'{file_names.shown(path)} has {size} pixels according to its header,'
      f' which is more than --config.data.max_pixels={max_pixels}. Shrink'
      ' or remove the image, or raise --config.data.max_pixels to at most'
      f' {sections.PILLOW_MAX_PIXELS}.'
  )
