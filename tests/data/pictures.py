"""Pictures as the contents of files, which are then read or refused."""

import io
import struct
import zlib

import pytest

from rq_jax.data import file_names
from rq_jax.data import image_files
from rq_jax.data.sources import image_folder

SIZE = (90, 60)


def encoded(picture, kind, **options):
  """Encodes a picture as the contents of a file."""
  buffer = io.BytesIO()
  picture.save(buffer, kind, **options)
  return buffer.getvalue()


def read(folder, name, content):
  """Reads a file as training does: as the only file of an image folder."""
  (folder / name).write_bytes(content)
  return image_folder.ImageFolder(folder)[0]['image']


def refused(path, **options):
  """The message why a file is refused; it names the file, but no object."""
  with pytest.raises(ValueError) as error:
    image_files.Reader(**options).read(path)
  message = str(error.value)
  assert isinstance(error.value, image_files.BrokenImageError)
  assert message.startswith(f'{file_names.shown(path)} ')
  assert message.isprintable()
  assert '0x' not in message and '_io.' not in message
  return message


def png_header(width, height):
  """A PNG file that promises width x height grey pixels, but holds none."""
  fields = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
  parts = [b'\x89PNG\r\n\x1a\n']
  for name, data in ((b'IHDR', fields), (b'IDAT', zlib.compress(b''))):
    crc = struct.pack('>I', zlib.crc32(name + data))
    parts.append(struct.pack('>I', len(data)) + name + data + crc)
  return b''.join(parts)
