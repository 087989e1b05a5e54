"""Files that appear whole or not at all, on disks that may be full.

The lowest layer: whoever writes or reads a file that a later start depends on
does it through these functions.
"""

from collections.abc import Iterator
import contextlib
import errno
import io
import json
import os
import pathlib
import shutil
from typing import IO, Any
import uuid

from etils import epath
import numpy as np

PARTIAL = '.partial'  # The end of the name of a file that is being written.

_FULL = (errno.ENOSPC, errno.EDQUOT)
# How the libraries below Orbax report the same.
_FULL_TEXTS = ('No space left on device', 'Disk quota exceeded')


class DiskFullError(OSError):
  """There is no room for what is to be written.

  Attributes:
    needs: Bytes that are needed, if known.
  """

  def __init__(self, path: epath.PathLike, needs: int | None = None):
    """Says which disk is full, and how much is missing if that is known."""
    super().__init__(_full_disk(path, needs))
    self.needs = needs


def path(value: epath.PathLike, name: str) -> str:
  """The path that somebody gave: `~` and `~user` become their home folders.

  Args:
    value: Local or remote.
    name: How errors call it, such as '--workdir'.

  Raises:
    ValueError: If it is empty or blank, or there is no such home folder.
  """
  given = os.fspath(value)
  if not given.strip():
    raise ValueError(
        f'{name}={given!r} names no file or folder: give a path. If it came'
        ' from a shell variable, that one is not set.'
    )
  expanded = os.path.expanduser(given)
  if given.startswith('~') and expanded == given:
    home = given.partition('/')[0]
    raise ValueError(
        f'{name}={given}: there is no home folder {home}. Write the path in'
        f' full, or ./{home} for a name that begins so.'
    )
  return expanded


def read_json(path: epath.PathLike) -> Any:
  """The value in a JSON file.

  Raises:
    ValueError: If the file cannot be read as JSON; the message names it.
    OSError: If it cannot be opened.
  """
  try:
    return json.loads(epath.Path(path).read_text())
  except ValueError as error:  # Not JSON, or not even text.
    raise ValueError(
        f'{path} is damaged: it cannot be read as JSON ({error}). Restore the'
        ' file from a copy, or write it again.'
    ) from error


def read_json_object(path: epath.PathLike) -> dict[str, Any]:
  """The object in a JSON file; see `read_json`.

  Raises:
    ValueError: If the file holds anything else; the message names it.
    OSError: If it cannot be opened.
  """
  if isinstance(value := read_json(path), dict):
    return value
  raise ValueError(
      f'{path} is damaged: it holds a {type(value).__name__}, not an object.'
      ' Restore the file from a copy, or write it again.'
  )


def npy_header(dtype: Any, shape: tuple[int, ...]) -> bytes:
  """How a .npy file of an array begins, just as `np.save` writes it.

  Args:
    dtype: Type of the array, as NumPy understands it.
    shape: Shape of the array, which follows in C order.
  """
  header = io.BytesIO()
  fields = {
      'descr': np.lib.format.dtype_to_descr(np.dtype(dtype)),
      'fortran_order': False,
      'shape': shape,
  }
  np.lib.format.write_array_header_1_0(header, fields)
  return header.getvalue()


@contextlib.contextmanager
def whole(path: epath.PathLike, *, needs: int | None = None) -> Iterator[IO]:
  """Opens a binary file that gets its name once all of it is written.

  Until then its name is one that no other writer uses, even if the same program
  runs twice at a time. After an error nothing is left behind.

  Args:
    path: The file, local or remote.
    needs: Bytes that will be written, if known, for the message.

  Raises:
    DiskFullError: If there is no room for it.
  """
  path = epath.Path(path)
  partial = path.with_name(f'{path.name}.{uuid.uuid4().hex}{PARTIAL}')
  with naming_a_full_disk(path, needs=needs):
    try:
      with partial.open('wb') as file:
        yield file
      partial.replace(path)
    except BaseException:
      partial.unlink(missing_ok=True)
      raise


@contextlib.contextmanager
def whole_folder(
    path: epath.PathLike, *, replace: bool = False
) -> Iterator[epath.Path]:
  """Gives a folder to write to, which gets its name once nothing failed.

  After an error nothing is left behind. What a process that was killed left is
  removed by the next that writes the same folder.

  Args:
    path: The folder. Unless `replace`, it is new or empty.
    replace: Whether a folder that is there is replaced.

  Raises:
    DiskFullError: If there is no room for it.
    ValueError: If there is a folder that is not empty, and not to be replaced.
  """
  path = epath.Path(path)
  partial = path.with_name(f'{path.name}{PARTIAL}')
  partial.rmtree(missing_ok=True)
  partial.mkdir(parents=True)
  with naming_a_full_disk(path):
    try:
      yield partial
      if path.exists():
        path.rmtree() if replace else path.rmdir()
      partial.rename(path)
    except BaseException as error:
      written = _size(partial)
      partial.rmtree(missing_ok=True)
      if isinstance(error, DiskFullError) and error.needs is not None:
        raise DiskFullError(path, written + error.needs) from error
      raise


@contextlib.contextmanager
def naming_a_full_disk(
    path: epath.PathLike, *, needs: int | None = None
) -> Iterator[None]:
  """Rewords the errors of a full disk while something is written.

  Args:
    path: What is written, a file or a folder.
    needs: Bytes that it needs in all, if known.

  Raises:
    DiskFullError: If the disk is full.
  """
  try:
    yield
  except Exception as error:
    if not _is_full(error):
      raise
    raise DiskFullError(path, needs) from error


def require_space(path: epath.PathLike, needs: int) -> None:
  """Refuses to begin what the disk has no room for.

  Args:
    path: What is to be written; neither it nor its parents need to exist.
      Nothing is known of remote ones, which pass.
    needs: Bytes.

  Raises:
    DiskFullError: If fewer bytes are free.
  """
  free = free_bytes(path)
  if free is not None and free < needs:
    raise DiskFullError(path, needs)


def free_bytes(path: epath.PathLike) -> int | None:
  """Bytes that are free where `path` is or will be; None if it is remote."""
  if not is_local(path):
    return None
  folder = pathlib.Path(os.path.abspath(path))
  while not folder.is_dir():
    folder = folder.parent
  return shutil.disk_usage(folder).free


def is_local(path: epath.PathLike) -> bool:
  """Whether a path names a local or mounted file, as opposed to gs://."""
  return '://' not in os.fspath(path)


def readable(count: int) -> str:
  """A number of bytes for people, such as '1.5 GB'."""
  size, units = float(count), ['bytes', 'kB', 'MB', 'GB', 'TB']
  while size >= 1000 and len(units) > 1:
    size, units = size / 1000, units[1:]
  return f'{count} bytes' if units[0] == 'bytes' else f'{size:.1f} {units[0]}'


def _is_full(error: BaseException) -> bool:
  if isinstance(error, DiskFullError):
    return False  # It says all there is to say.
  if isinstance(error, OSError) and error.errno in _FULL:
    return True
  return any(text in str(error) for text in _FULL_TEXTS)


def _full_disk(path: epath.PathLike, needs: int | None) -> str:
  free = free_bytes(path)
  if free is None:
    return (
        f'The storage of {path} is full. Free some space there and run the same'
        ' command again.'
    )
  where = f'The disk of {path} is full: {readable(free)} are free'
  if needs is None:
    return f'{where}. Make room and run the same command again.'
  if free >= needs:  # The disk is not full, and yet refuses to take more.
    return (
        f'The disk of {path} is full, or your quota on it is used up:'
        f' {readable(free)} are free on it, and {readable(needs)} are needed.'
        ' Remove files there, or choose a folder on another disk.'
    )
  missing = readable(needs - free)
  return (
      f'{where}, and {readable(needs)} are needed. Free at least {missing}'
      ' more, or choose a folder on another disk.'
  )


def _size(folder: epath.Path) -> int:
  """Bytes of all files in a local folder; 0 for a remote one."""
  if not is_local(folder):
    return 0
  paths = pathlib.Path(folder).rglob('*')
  return sum(path.stat().st_size for path in paths if path.is_file())
