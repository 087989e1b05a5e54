"""Stores lists of large folders, so that the next start need not list them.

The stored list is used if the times and the inode numbers of all folders are
unchanged. To check this takes one request to the file system per folder instead
of one per file. On a file system that does not keep these times, changes are
not noticed. If it reports times of 0, the list is not stored. The contents of
files are not part of the list.
"""

import hashlib
import os
import pathlib
import time

import numpy as np

from rq_jax import files
from rq_jax.data.image_tree import scan
from rq_jax.data.image_tree import tree as tree_lib
from rq_jax.data.image_tree.tree import Tree

_FOLDER = 'RQ_JAX_FOLDER_INDEX'
# Smaller folders are not worth storing.
_WORTH_FILES = 10_000
# A change within the resolution of a file system's times would not be noticed,
# so all folders must have been unchanged for this long.
_SETTLED_NS = 2_000_000_000


def open_tree(root: str) -> Tree:
  """Lists a folder of images, or reads the stored list if it is still right.

  The list of a large local folder is stored in the folder that the environment
  variable `RQ_JAX_FOLDER_INDEX` names ('off' stores nothing), or else in the
  user's cache. If it cannot be stored, the next call lists the folder again.

  Args:
    root: The folder, local or remote.

  Raises:
    ValueError: If a folder cannot be listed.
  """
  place = _place(root) if files.is_local(root) else None
  if place is None:
    return scan.scan(root)
  stored = tree_lib.load(place)
  if stored is not None and _is_current(stored, root):
    return stored
  now = time.time_ns()
  found = scan.scan(root)
  if len(found.files) < _WORTH_FILES or not _settled(found, now):
    return found
  return _store(found, place, root) or found


def _place(root: str) -> str | None:
  """The file for the list of a folder; None if nothing is stored."""
  chosen = os.environ.get(_FOLDER)
  if chosen == 'off':
    return None
  folder = pathlib.Path(chosen) if chosen else files.user_cache('folders')
  if folder is None:
    return None
  name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()
  return str(folder / f'{name[:32]}.tree')


def _store(found: Tree, place: str, root: str) -> Tree | None:
  """Stores a list and maps it; returns None if that is not possible."""
  try:
    tree_lib.write(found, place, root=os.path.realpath(root))
  except OSError:
    return None
  return tree_lib.load(place)


def _is_current(stored: Tree, root: str) -> bool:
  """Whether all folders have the stamps that were stored."""
  for path, before in zip(stored.folders, stored.stamps.tolist(), strict=True):
    try:
      now = scan.stamp(os.stat(os.path.join(root, path)))
    except OSError:
      return False
    if list(now) != before:
      return False
  return True


def _settled(found: Tree, now: int) -> bool:
  """Whether later changes of all folders will change their stamps."""
  times = found.stamps[:, :2]
  return bool(np.all((times > 0) & (times < now - _SETTLED_NS)))
