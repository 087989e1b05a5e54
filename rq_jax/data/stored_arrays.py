"""Files with arrays that can be computed again, whole and memory-mapped.

Lists of folders and of tar files are stored in them. A file that cannot be used
counts as missing, whatever the reason, because its arrays are then made again.
"""

from collections.abc import Mapping
import json
import mmap
import os
import struct
from typing import Any, NamedTuple
import zlib

from etils import epath
import numpy as np

from rq_jax import files

# Change the number if the layout changes.
_MAGIC = b'rq_jax arrays 1\n'
_ALIGNMENT = 8
_LENGTH, _CHECKSUM = struct.Struct('<q'), struct.Struct('<I')
_START = len(_MAGIC) + _LENGTH.size  # Where the description begins.


class Stored(NamedTuple):
  """What a file holds.

  Attributes:
    about: What was stored with the arrays.
    arrays: The arrays by name. They are parts of a read-only memory map, so all
      processes of a machine share one copy.
    checksum: Checksum of all bytes before it.
    inode: Number of the file in its file system.
  """

  about: dict[str, Any]
  arrays: dict[str, np.ndarray]
  checksum: int
  inode: int


def write(
    path: epath.PathLike,
    kind: str,
    about: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> None:
  """Writes a file, which `load` reads; it appears whole or not at all.

  Args:
    path: The file. Its folder is created if necessary, for this user only.
    kind: What the arrays describe, with the number of a version.
    about: More about them, as values of JSON.
    arrays: The arrays by name.

  Raises:
    OSError: If the file cannot be written.
  """
  head = {
      'kind': kind,
      'about': about,
      'arrays': [[n, a.dtype.str, a.shape] for n, a in arrays.items()],
  }
  text = _padded(json.dumps(head).encode())
  os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
  checksum = 0
  with files.whole(path) as file:
    parts = [_MAGIC, _LENGTH.pack(len(text)), text]
    for array in arrays.values():
      data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
      parts += [data, bytes(-len(data) % _ALIGNMENT)]
    for part in parts:
      checksum = zlib.crc32(part, checksum)
      file.write(part)
    file.write(_CHECKSUM.pack(checksum))


def load(path: epath.PathLike, kind: str) -> Stored | None:
  """Maps a file; None if it is missing, damaged or of another kind."""
  try:
    with open(path, 'rb') as file:
      inode = os.fstat(file.fileno()).st_ino
      data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
  except (OSError, ValueError):  # An empty file cannot be mapped.
    return None
  if len(data) < _START + _CHECKSUM.size or data[: len(_MAGIC)] != _MAGIC:
    return None
  (checksum,) = _CHECKSUM.unpack(data[-_CHECKSUM.size :])
  with memoryview(data) as view, view[: -_CHECKSUM.size] as body:
    if zlib.crc32(body) != checksum:
      return None
  (length,) = _LENGTH.unpack_from(data, len(_MAGIC))
  start = _START + length
  head = json.loads(data[_START:start])
  if head['kind'] != kind:
    return None
  arrays = {}
  for name, dtype, shape in head['arrays']:
    count = int(np.prod(shape, dtype=np.int64))
    array = np.frombuffer(data, dtype, count, start).reshape(shape)
    arrays[name] = array
    start += array.nbytes + -array.nbytes % _ALIGNMENT
  return Stored(head['about'], arrays, checksum, inode)


def _padded(text: bytes) -> bytes:
  """Text of JSON, up to the next multiple of the alignment."""
  return text + b' ' * (-(_START + len(text)) % _ALIGNMENT)
