"""Reads parts of tar files, and stores arrays that describe them.

The arrays are stored beside the tar file, or, if its folder cannot be written,
in the user's cache (`$XDG_CACHE_HOME/rq_jax/tar_index`). If neither can be
written, nothing is stored.
"""

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import dataclasses
import functools
import hashlib
import os
import pathlib
import stat
from typing import IO, Any

from etils import epath
import numpy as np

from rq_jax import files

_FORMAT = 1
# Name of the stored array that identifies the tar file.
_TAR = 'tar'
# Tar files that a process keeps open; the usual limit on open files is 1024.
_OPEN = 256
# Names are copied in parts, because copying takes 16 bytes for each byte.
_PART = 2**16


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


class Names:
  """A sequence of names in two arrays, which need less memory than a list."""

  def __init__(self, text: np.ndarray, ends: np.ndarray):
    """Wraps two arrays.

    Args:
      text: All names without gaps, in UTF-8, uint8[...].
      ends: Where each name ends in `text`, int64[N].
    """
    self.text = text
    self.ends = ends

  @classmethod
  def of(cls, names: Iterable[str]) -> 'Names':
    """Stores names that can be encoded as UTF-8."""
    encoded = [name.encode() for name in names]
    lengths = np.array([len(name) for name in encoded], np.int64)
    text = np.frombuffer(b''.join(encoded), np.uint8)
    return cls(text, np.cumsum(lengths, dtype=np.int64))

  @classmethod
  def join(cls, several: Sequence['Names']) -> 'Names':
    """The names of several objects, in order."""
    texts = [names.text for names in several]
    starts = np.cumsum([0, *map(len, texts)])
    ends = [names.ends + start for names, start in zip(several, starts)]
    return cls(
        np.concatenate([np.zeros(0, np.uint8), *texts]),
        np.concatenate([np.zeros(0, np.int64), *ends]),
    )

  def take(self, indices: np.ndarray) -> 'Names':
    """Some of the names, by their indices, int[n]."""
    parts = range(0, len(indices), _PART)
    return Names.join([self._take(indices[i : i + _PART]) for i in parts])

  def _take(self, indices: np.ndarray) -> 'Names':
    starts = np.where(indices > 0, self.ends[indices - 1], 0)
    lengths = self.ends[indices] - starts
    ends = np.cumsum(lengths, dtype=np.int64)
    # How far each byte moves.
    shifts = np.repeat(starts - (ends - lengths), lengths)
    return Names(self.text[np.arange(len(shifts)) + shifts], ends)

  def __len__(self) -> int:
    """Number of names."""
    return len(self.ends)

  def __getitem__(self, index: int) -> str:
    """A name; bytes that are not UTF-8 are written in hexadecimal."""
    if not 0 <= index < len(self.ends):
      raise IndexError(f'There are {len(self.ends)} names, but no {index}.')
    start = self.ends[index - 1] if index else 0
    name = self.text[start : self.ends[index]].tobytes()
    return name.decode('utf-8', 'backslashreplace')

  def __iter__(self) -> Iterator[str]:
    """All names in order."""
    return (self[index] for index in range(len(self)))


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
    # The file may be missing, cut off or of another kind; NumPy raises errors
    # of many types.
    with contextlib.suppress(Exception):
      with path.open('rb') as file, np.load(file, allow_pickle=False) as saved:
        fields = dict(saved)
      if fields.pop(_TAR).tolist() == _state(tar):
        return fields
  return None


def store(tar: Tar, kind: str, arrays: dict[str, np.ndarray]) -> None:
  """Stores arrays for `stored`, or does nothing if that is not possible."""
  fields: dict[str, Any] = {**arrays, _TAR: np.array(_state(tar), np.int64)}
  for path in _places(tar, kind):
    with contextlib.suppress(OSError):  # Read-only, or full.
      path.parent.mkdir(parents=True, exist_ok=True)
      with files.whole(path) as file:
        np.savez(file, **fields)
      return


def _state(tar: Tar) -> list[int]:
  return [_FORMAT, tar.size, tar.mtime_ns]


def _places(tar: Tar, kind: str) -> list[pathlib.Path]:
  """The files in which arrays may be stored, the best first."""
  beside = pathlib.Path(f'{tar.path}.{kind}.npz')
  base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  if not os.path.isabs(base):  # There is no home folder.
    return [beside]
  name = hashlib.sha256(os.fsencode(beside)).hexdigest()
  return [beside, pathlib.Path(base, 'rq_jax', 'tar_index', f'{name}.npz')]


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
