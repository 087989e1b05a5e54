"""Walks through a folder and all folders below it."""

import array
import collections
import dataclasses
import os

from etils import epath
import numpy as np

from rq_jax import files
from rq_jax.data import file_names
from rq_jax.data.image_tree import entries
from rq_jax.data.image_tree.tree import Tree
from rq_jax.distributed import progress

_TWICE = 'links to folders that were listed already'
# Folders up to this depth may be classes or splits, so every link to the same
# folder is listed. Deeper folders are listed once, so that loops of links end.
_CLASS_DEPTH = 2
_SHOWN_AFTER_S = 3


@dataclasses.dataclass
class _Folder:
  """One folder: names of images and folders, and numbers of ignored entries."""

  images: list[str] = dataclasses.field(default_factory=list)
  folders: list[str] = dataclasses.field(default_factory=list)
  ignored: collections.Counter[str] = dataclasses.field(
      default_factory=collections.Counter
  )


def scan(root: str) -> Tree:
  """Lists the images in a folder, local or remote, and in all folders below.

  Links to files and folders are followed. Entries with the ending of an image
  are not opened, so they may be anything.

  Raises:
    ValueError: If a folder cannot be listed.
  """
  local = files.is_local(root)
  list_folder = _list_local if local else _list_remote
  folders, images = file_names.Packer(), file_names.Packer()
  stamps, ends = array.array('q'), array.array('q')
  ignored = collections.Counter()
  stack: list[tuple[str, set]] = [('', set())]
  with progress.bar(
      desc='listing images', unit=' files', delay=_SHOWN_AFTER_S
  ) as bar:
    while stack:
      path, listed = stack.pop()
      full = os.path.join(root, path) if path else root
      identity, folder_stamp = _state(full) if local else (path, (0, 0, 0))
      if identity in listed:
        ignored[_TWICE] += 1
        continue
      found = list_folder(full)
      found.images.sort()
      folders.add([path])
      images.add(found.images)
      stamps.extend(folder_stamp)
      ends.append(len(images))
      ignored += found.ignored
      bar.update(len(found.images))
      below_class = path.count('/') + 1 >= _CLASS_DEPTH
      if below_class:
        listed.add(identity)
      for name in sorted(found.folders, reverse=True):
        inner = listed if below_class else {*listed, identity}
        stack.append((f'{path}/{name}' if path else name, inner))
  return Tree(
      folders=folders.pack(),
      stamps=np.frombuffer(stamps, np.int64).reshape(-1, 3),
      ends=np.frombuffer(ends, np.int64),
      files=images.pack(),
      ignored=dict(sorted(ignored.items())),
  )


def stamp(status: os.stat_result) -> tuple[int, int, int]:
  """Values that change with the entries of a folder; see `Tree.stamps`."""
  number = status.st_ino & (2**63 - 1)  # Some file systems use all 64 bits.
  return status.st_mtime_ns, status.st_ctime_ns, number


def _state(folder: str) -> tuple[tuple[int, int], tuple[int, int, int]]:
  """The identity of a local folder, and its stamp."""
  try:
    status = os.stat(folder)
  except OSError as error:
    raise _unlisted(folder, error) from error
  return (status.st_dev, status.st_ino), stamp(status)


def _list_local(folder: str) -> _Folder:
  found = _Folder()
  try:
    with os.scandir(folder) as listed:
      for entry in listed:
        _sort_in(found, entry.name, entry)
  except OSError as error:
    raise _unlisted(folder, error) from error
  return found


def _list_remote(folder: str) -> _Folder:
  found = _Folder()
  for entry in epath.Path(folder).iterdir():
    _sort_in(found, entry.name, entry)
  return found


def _sort_in(
    found: _Folder, name: str, entry: 'os.DirEntry[str] | epath.Path'
) -> None:
  """Adds an entry to the images, folders or ignored entries of its folder."""
  if reason := entries.ignored(name):
    found.ignored[reason] += 1
  elif entries.is_image(name):
    found.images.append(name)
  elif _is_folder(entry):
    found.folders.append(name)
  else:
    found.ignored[entries.kind(name)] += 1


def _is_folder(entry: 'os.DirEntry[str] | epath.Path') -> bool:
  try:
    return entry.is_dir()
  except OSError:  # A link that leads to itself.
    return False


def _unlisted(folder: str, error: OSError) -> ValueError:
  return ValueError(
      f'{folder} cannot be listed: {error.strerror}. Change its permissions, or'
      ' move it out of the folder of the data.'
  )
