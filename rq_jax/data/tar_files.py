"""Reads parts of tar files, and stores arrays that describe them.

The arrays are stored beside the tar file, or, if its folder cannot be written,
in the user's cache (`$XDG_CACHE_HOME/rq_jax/tar_index`). If neither can be
written, nothing is stored.
"""

from collections.abc import Mapping
import contextlib
import dataclasses
import functools
import hashlib
import os
import pathlib
import stat
from typing import IO

from etils import epath
import numpy as np

from rq_jax import files
from rq_jax.data import stored_arrays

# Change the number if the stored arrays change.
_FORMAT = 1
# Tar files that a process keeps open; the usual limit on open files is 1024.
_OPEN = 256


@dataclasses.dataclass(frozen=True)
class Tar:
  """A tar file as it was when it was scanned.

  Attributes:
    path: Its absolute path.
    size: Its size in bytes.
    mtime_ns: When it was last changed, in nanoseconds.
  """

  path: str
  size: int
  mtime_ns: int

  @classmethod
  def at(cls, path: epath.PathLike) -> 'Tar':
    """Describes the tar file at a path.

    Raises:
      ValueError: If the file is remote, missing or not a regular file.
    """
    if not files.is_local(path):
      raise ValueError(
          f'{path} is remote, but tar files are read at random positions. Copy'
          ' it to a local disk, or mount its storage.'
      )
    try:
      status = os.stat(path)
    except OSError as error:
      raise ValueError(
          f'{path} cannot be read: {error.strerror}. Change the path.'
      ) from error
    if not stat.S_ISREG(status.st_mode):
      raise ValueError(f'{path} is not a regular file. Change the path.')
    return cls(os.path.abspath(path), status.st_size, status.st_mtime_ns)

  def read(self, offset: int, size: int) -> bytes:
    """Reads bytes; threads and processes may read at the same time.

    Raises:
      ValueError: If the file has changed since it was scanned.
      OSError: If the bytes cannot be read.
    """
    opened = _opened(self)  # Kept open by this reference.
    content = os.pread(opened.descriptor, size, offset)
    while len(content) < size:  # At most 2 GiB are read at once.
      more = os.pread(
          opened.descriptor, size - len(content), offset + len(content)
      )
      if not more:
        raise _changed(self.path)
      content += more
    return content


def open_tar(tar: Tar) -> IO[bytes]:
  """Opens a tar file to read it from its beginning."""
  try:
    # Headers are far apart, so reading ahead would be wasted.
    return open(tar.path, 'rb', buffering=4096)
  except OSError as error:
    raise ValueError(
        f'{tar.path} cannot be opened: {error.strerror}. Change its'
        ' permissions.'
    ) from error


def stored(tar: Tar, kind: str) -> dict[str, np.ndarray] | None:
  """Arrays that `store` wrote; None if there are none for this tar file.

  Args:
    tar: The tar file. Arrays from before its last change are ignored.
    kind: Kind of the arrays; part of the name of their file.
  """
  for path in _places(tar, kind):
    found = stored_arrays.load(path, _kind(kind))
    if found is not None and found.about == _state(tar):
      # A mapped file on a network drive may vanish.
      return {name: array.copy() for name, array in found.arrays.items()}
  return None


def store(tar: Tar, kind: str, arrays: Mapping[str, np.ndarray]) -> None:
  """Stores arrays for `stored`, or does nothing if that is not possible."""
  for path in _places(tar, kind):
    with contextlib.suppress(OSError):  # Read-only, or full.
      stored_arrays.write(path, _kind(kind), _state(tar), arrays)
      return


def _kind(kind: str) -> str:
  return f'tar {kind} {_FORMAT}'


def _state(tar: Tar) -> dict[str, int]:
  return {'size': tar.size, 'mtime_ns': tar.mtime_ns}


def _places(tar: Tar, kind: str) -> list[pathlib.Path]:
  """The files in which arrays may be stored, the best first."""
  beside = pathlib.Path(f'{tar.path}.{kind}')
  folder = files.user_cache('tar_index')
  if folder is None:
    return [beside]
  name = hashlib.sha256(os.fsencode(beside)).hexdigest()
  return [beside, folder / f'{name[:32]}.{kind}']


class _Opened:
  """An open file, which is closed when nothing refers to it any more."""

  def __init__(self, path: str):
    self.descriptor = os.open(path, os.O_RDONLY)

  def __del__(self):
    # It is missing if the file could not be opened.
    if (descriptor := self.__dict__.get('descriptor')) is not None:
      os.close(descriptor)


@functools.lru_cache(maxsize=_OPEN)
def _opened(tar: Tar) -> _Opened:
  """Opens a tar file for `Tar.read`, once per process."""
  opened = _Opened(tar.path)
  status = os.fstat(opened.descriptor)
  if (status.st_size, status.st_mtime_ns) != (tar.size, tar.mtime_ns):
    raise _changed(tar.path)
  return opened


def _changed(path: str) -> ValueError:
  return ValueError(
      f'{path} has changed since it was scanned. Run the same command again.'
  )
