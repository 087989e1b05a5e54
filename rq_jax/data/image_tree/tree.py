"""The list of the images in a folder and below, in memory or in a file.

The file is memory-mapped, so all processes of a machine share one copy.
"""

from collections.abc import Mapping
import dataclasses
import json
import mmap
import os
import struct
from typing import Any
import zlib

import numpy as np

from rq_jax import files
from rq_jax.data.image_tree import packed

# Change the number if the layout changes, or the rules of `entries`.
_MAGIC = b'rq_jax image tree 1\n\0\0\0\0'
_ALIGNMENT = 8
_ARRAYS = ('stamps', 'ends', 'folder_ends', 'file_ends', 'folders', 'files')


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tree:
  """Image files by folder: F folders in order of their paths, and N files.

  Attributes:
    folders: Path of each folder within the listed one, whose own path is ''.
    stamps: Time of the last change of entries, time of the last change of any
      property (both in ns) and number of each folder, int64[F, 3]; zeros for
      remote folders.
    ends: Number of files up to the end of each folder, int64[F].
    files: Names of the files of all folders, in order.
    ignored: Numbers of ignored entries by kind.
    stored: The file that holds the tree, with its identity; None if the tree
      is only in memory.
  """

  folders: packed.Names
  stamps: np.ndarray
  ends: np.ndarray
  files: packed.Names
  ignored: Mapping[str, int]
  stored: 'tuple[str, int, int] | None' = None

  def __reduce__(self):
    """Lets other processes map the file of the tree, if it has one."""
    if self.stored is not None:
      file, checksum, number = self.stored
      if os.path.exists(file) and os.stat(file).st_ino == number:
        return _load_again, (file, checksum)
    fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
    return _in_memory, ({**fields, 'stored': None},)


def write(tree: Tree, file: str, *, root: str) -> None:
  """Writes a tree to a file, which `load` reads.

  Args:
    tree: The tree.
    file: The file; it appears whole or not at all.
    root: The listed folder, which is noted in the file.

  Raises:
    OSError: If the file cannot be written.
  """
  arrays = _arrays(tree)
  head = {
      'root': root,
      'ignored': dict(tree.ignored),
      'lengths': [int(array.size) for array in arrays],
  }
  text = json.dumps(head).encode()
  text += b' ' * (-len(text) % _ALIGNMENT)
  checksum = 0
  with files.whole(file) as stream:
    parts = (_MAGIC, struct.pack('<q', len(text)), text)
    for data in (*parts, *(array.data.cast('B') for array in arrays)):
      checksum = zlib.crc32(data, checksum)
      stream.write(data)
    stream.write(struct.pack('<I', checksum))


def load(file: str) -> Tree | None:
  """Maps the file of a tree; None if it is missing, damaged or of another kind.

  Raises:
    OSError: If the file is there, but cannot be read.
  """
  try:
    with open(file, 'rb') as stream:
      number = os.fstat(stream.fileno()).st_ino
      data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
  except (FileNotFoundError, ValueError):  # An empty file cannot be mapped.
    return None
  start = len(_MAGIC) + struct.calcsize('<q')
  if len(data) < start + 4 or data[: len(_MAGIC)] != _MAGIC:
    return None
  (checksum,) = struct.unpack('<I', data[-4:])
  with memoryview(data) as view, view[:-4] as body:
    if zlib.crc32(body) != checksum:
      return None
  (length,) = struct.unpack_from('<q', data, len(_MAGIC))
  head = json.loads(data[start : start + length])
  return _mapped(data, start + length, head, (file, checksum, number))


def _mapped(
    data: mmap.mmap, start: int, head: dict[str, Any], stored: tuple
) -> Tree:
  """The tree in the file `data`, whose arrays begin at `start`."""
  arrays = {}
  for name, length in zip(_ARRAYS, head['lengths'], strict=True):
    dtype = np.uint8 if name in ('folders', 'files') else np.int64
    arrays[name] = np.frombuffer(data, dtype, length, start)
    start += arrays[name].nbytes
  return Tree(
      folders=packed.Names(arrays['folders'], arrays['folder_ends']),
      stamps=arrays['stamps'].reshape(-1, 3),
      ends=arrays['ends'],
      files=packed.Names(arrays['files'], arrays['file_ends']),
      ignored=head['ignored'],
      stored=stored,
  )


def _arrays(tree: Tree) -> list[np.ndarray]:
  """The arrays of a tree, in the order of `_ARRAYS`."""
  return [
      np.ascontiguousarray(tree.stamps).reshape(-1),
      tree.ends,
      tree.folders.ends,
      tree.files.ends,
      tree.folders.data,
      tree.files.data,
  ]


def _load_again(file: str, checksum: int) -> Tree:
  """Maps the file of a tree in another process."""
  tree = load(file)
  if tree is None or tree.stored is None or tree.stored[1] != checksum:
    raise ValueError(
        f'{file}, the list of the images, has changed while worker processes'
        ' started. Run the same command again.'
    )
  return tree


def _in_memory(fields: dict[str, Any]) -> Tree:
  return Tree(**fields)
