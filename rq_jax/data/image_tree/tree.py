"""The list of the images in a folder and below, in memory or in a file.

The file is memory-mapped; see `stored_arrays`.
"""

from collections.abc import Mapping
import dataclasses
import os
from typing import Any

import numpy as np

from rq_jax.data import file_names
from rq_jax.data import stored_arrays

# Change the number if the arrays change, or the rules of `entries`.
_KIND = 'image tree 1'


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

  folders: file_names.Packed
  stamps: np.ndarray
  ends: np.ndarray
  files: file_names.Packed
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
  stored_arrays.write(
      file,
      _KIND,
      {'root': root, 'ignored': dict(tree.ignored)},
      {
          'stamps': tree.stamps,
          'ends': tree.ends,
          **tree.folders.arrays('folders'),
          **tree.files.arrays('files'),
      },
  )


def load(file: str) -> Tree | None:
  """Maps the file of a tree; None if there is none that can be used."""
  found = stored_arrays.load(file, _KIND)
  if found is None:
    return None
  return Tree(
      folders=file_names.restored(found.arrays, 'folders'),
      stamps=found.arrays['stamps'],
      ends=found.arrays['ends'],
      files=file_names.restored(found.arrays, 'files'),
      ignored=found.about['ignored'],
      stored=(file, found.checksum, found.inode),
  )


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
