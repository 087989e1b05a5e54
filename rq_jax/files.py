"""Reads and writes files that appear whole or not at all, even on full disks.

This is the lowest layer: all files that a later start depends on are read and
written by these functions.
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

PARTIAL = '.partial'  # The suffix of files that are being written.

_FULL = (errno.ENOSPC, errno.EDQUOT)
# How the libraries below Orbax report the same errors.
_FULL_TEXTS = ('No space left on device', 'Disk quota exceeded')


class DiskFullError(OSError):
  """The disk has no room for a file or folder.

  Attributes:
    needs: Bytes that are needed; None if unknown.
  """

  def __init__(self, path: epath.PathLike, needs: int | None = None):
    """Creates the message: which disk is full, and how much space is missing.

    Args:
      path: The file or folder that was to be written.
      needs: Bytes that it needs; None if unknown.
    """
    super().__init__(_full_disk(path, needs))
    self.needs = needs


def path(value: epath.PathLike, name: str) -> str:
  """Checks a path from the user, and expands `~` and `~user`.

  Args:
    value: The path, local or remote.
    name: Name of the flag or argument for errors, such as '--workdir'.

  Raises:
    ValueError: If the path is empty or blank, or there is no such home folder.
  """
  given = os.fspath(value)
  if not given.strip():
    raise ValueError(
        f'{name}={given!r} names no file or folder. Give a path. If it came'
        ' from a shell variable, that variable is not set.'
    )
  expanded = os.path.expanduser(given)
  if given.startswith('~') and expanded == given:
    home = given.partition('/')[0]
    raise ValueError(
        f'{name}={given} cannot be used: there is no home folder {home}. Write'
        f' the path in full, or write ./{home} if the name itself begins with'
        ' ~.'
    )
  return expanded


def read_json(path: epath.PathLike) -> Any:
  """Reads the value in a JSON file.

  Raises:
    ValueError: If the file is not valid JSON; the message names the file.
    OSError: If the file cannot be opened.
  """
  try:
    return json.loads(epath.Path(path).read_text())
  except ValueError as error:  # The file is not JSON, or not even text.
    raise ValueError(
        f'{path} is damaged: it cannot be read as JSON ({error}). Restore the'
        ' file from a copy, or write it again.'
    ) from error


def read_json_object(path: epath.PathLike) -> dict[str, Any]:
  """Reads the object in a JSON file; see `read_json`.

  Raises:
    ValueError: If the file holds anything else; the message names the file.
    OSError: If the file cannot be opened.
  """
  if isinstance(value := read_json(path), dict):
    return value
  raise ValueError(
      f'{path} is damaged: it holds a {type(value).__name__}, not an object.'
      ' Restore the file from a copy, or write it again.'
  )


def write_json(path: epath.PathLike, value: Any) -> None:
  """Writes a value to a JSON file; raises the errors of `whole`."""
  text = f'{json.dumps(value, indent=2)}\n'  # ASCII, so a character is a byte.
  with whole(path, needs=len(text)) as file:
    file.write(text.encode())


def npy_header(dtype: Any, shape: tuple[int, ...]) -> bytes:
  """The header of a .npy file, exactly as `np.save` writes it.

  Args:
    dtype: Type of the array, in any form that NumPy accepts.
    shape: Shape of the array, whose values follow the header in C order.
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
  """Opens a binary file that gets its final name once it is fully written.

  Until then, the file has a temporary name that no other writer uses, even if
  the same program runs twice at the same time. An error leaves nothing behind.

  Args:
    path: The file, local or remote.
    needs: Bytes that will be written, for the error; None if unknown.

  Raises:
    DiskFullError: If there is no room for the file.
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
  """Creates a folder that gets its final name once it is fully written.

  The `with` block writes to a temporary folder. An error leaves nothing behind.
  If a process is killed, its temporary folder is removed by the next process
  that writes the same folder.

  Args:
    path: The folder. It must not exist or be empty, unless `replace` is true.
    replace: Whether to replace an existing folder.

  Raises:
    DiskFullError: If there is no room for the folder.
    ValueError: If the folder exists and is not empty, and `replace` is false.
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
  """Converts all errors of a full disk to DiskFullErrors that name the path.

  Args:
    path: The file or folder that the `with` block writes.
    needs: Total bytes that the file or folder needs; None if unknown.

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
  """Checks that the disk has room for a file or folder.

  Args:
    path: The file or folder; neither it nor its parents need to exist. Remote
      paths always pass, because their free space is unknown.
    needs: Bytes that are needed.

  Raises:
    DiskFullError: If fewer bytes are free.
  """
  free = free_bytes(path)
  if free is not None and free < needs:
    raise DiskFullError(path, needs)


def free_bytes(path: epath.PathLike) -> int | None:
  """Free bytes on the disk where `path` is or will be; None if it is remote."""
  if not is_local(path):
    return None
  folder = pathlib.Path(os.path.abspath(path))
  while not folder.is_dir():
    folder = folder.parent
  return shutil.disk_usage(folder).free


def is_local(path: epath.PathLike) -> bool:
  """Whether a path is on a local or mounted disk, unlike gs:// for example."""
  return '://' not in os.fspath(path)


def user_cache(name: str) -> pathlib.Path | None:
  """The folder `name` in the user's cache; None if there is no home folder."""
  base = os.environ.get('XDG_CACHE_HOME', '')
  if not os.path.isabs(base):  # The standard ignores relative paths.
    try:
      base = pathlib.Path.home() / '.cache'
    except RuntimeError:
      return None
  return pathlib.Path(base) / 'rq_jax' / name


def readable(count: int) -> str:
  """Formats a number of bytes for people, such as '1.5 GB'."""
  size, units = float(count), ['bytes', 'kB', 'MB', 'GB', 'TB']
  while size >= 1000 and len(units) > 1:
    size, units = size / 1000, units[1:]
  return f'{count} bytes' if units[0] == 'bytes' else f'{size:.1f} {units[0]}'


def _is_full(error: BaseException) -> bool:
  if isinstance(error, DiskFullError):
    return False  # It already has the right message.
  if isinstance(error, OSError) and error.errno in _FULL:
    return True
  return any(text in str(error) for text in _FULL_TEXTS)


def _full_disk(path: epath.PathLike, needs: int | None) -> str:
  free = free_bytes(path)
  if free is None:
    return (
        f'The storage of {path} is full. Free some space there, and run the'
        ' same command again.'
    )
  where = f'The disk of {path} is full: {readable(free)} are free'
  if needs is None:
    return f'{where}. Free some space, and run the same command again.'
  if free >= needs:  # The disk is not full, but still refuses to write more.
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
  """Bytes of all files in a local folder; 0 for a remote folder."""
  if not is_local(folder):
    return 0
  paths = pathlib.Path(folder).rglob('*')
  return sum(path.stat().st_size for path in paths if path.is_file())
