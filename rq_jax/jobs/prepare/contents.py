"""Checks the contents of image files, and makes large images smaller.

With `resize`, an image whose short side is longer than that is decoded, resized
as in training (bilinear, antialiased, long side rounded down) and encoded
again: as PNG if it was a PNG file, else as JPEG of quality 95 with full color
resolution. The result is 8-bit RGB; of the metadata, it keeps only the EXIF
orientation. All other images keep their bytes.
"""

import dataclasses
import io

from PIL import Image

from rq_jax.data import decoding
from rq_jax.data import image_files
from rq_jax.data import transforms

_QUALITY = 95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checker:
  """Checks that images can be read, and resizes them.

  Attributes:
    reader: Decodes the images, without rotating them.
    resize: Length that short sides are reduced to, in pixels; None keeps all
      images as they are.
  """

  reader: image_files.Reader
  resize: int | None = None

  def __call__(self, content: bytes, name: str) -> bytes:
    """Returns the bytes to store for an image file.

    Args:
      content: The bytes of the file.
      name: Name of the file, for errors.

    Raises:
      BrokenImageError: If the image cannot be read.
    """
    image = self.reader.decode(content, name)
    if self.resize is None or min(image.shape[:2]) <= self.resize:
      return content
    kind, exif = _kind_and_orientation(content)
    size = self.resize, self.resize
    smaller = Image.fromarray(transforms.cover(image, size))
    buffer = io.BytesIO()
    if kind == 'PNG':
      smaller.save(buffer, 'PNG', exif=exif)
    else:
      smaller.save(buffer, 'JPEG', quality=_QUALITY, subsampling=0, exif=exif)
    return buffer.getvalue()


def _kind_and_orientation(content: bytes) -> tuple[str | None, bytes]:
  """The format of an image file, and EXIF data with only its rotation."""
  with Image.open(io.BytesIO(content), formats=image_files.FORMATS) as image:
    orientation = decoding.orientation(image)
    if orientation == 1:
      return image.format, b''
    exif = Image.Exif()
    exif[decoding.ORIENTATION] = orientation
    return image.format, exif.tobytes()
