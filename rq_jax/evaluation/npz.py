"""Reads and writes .npz files, array by array, without unpickling anything.

`numpy.load` allocates whatever the header of an array asks for. Here, all
headers are compared with the sizes of the files in the archive first, so a
damaged or hostile file is refused before memory is allocated. Rows can be read
in blocks, so that a file of images may be larger than the memory.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import math
import os
import pathlib
from typing import IO
import zipfile

import numpy as np

from rq_jax import files
from rq_jax.typing import Array

_SUFFIX = '.npy'
# The largest array that `read` returns; images are read in blocks.
MAX_BYTES = 8 * 2**30
_BLOCK_BYTES = 16 * 2**20
_MAX_ARRAYS = 64
_KINDS = 'biufUS'  # Booleans, numbers and texts.
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclasses.dataclass(frozen=True)
class _Header:
  """The header of an array."""

  shape: tuple[int, ...]
  dtype: np.dtype
  columns: bool  # Whether values are stored column by column.
  nbytes: int


class NpzFile:
  """An .npz file, opened for reading. Use as a context manager.

  Raises:
    ValueError: If this is no .npz file, is damaged, or has arrays of objects.
  """

  def __init__(self, path: str | os.PathLike):
    self.path = pathlib.Path(path)
    try:
      self._archive = zipfile.ZipFile(self.path)
    except Exception as error:  # Python raises many types for damaged files.
      raise ValueError(
          f'{path} cannot be read as an .npz file ({error}). Check the path,'
          ' and whether the download is complete.'
      ) from error
    try:
      self._headers = self._read_headers()
    except BaseException:
      self.close()
      raise

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def close(self) -> None:
    """Closes the file; arrays that were read stay valid."""
    self._archive.close()

  @property
  def shapes(self) -> Mapping[str, tuple[int, ...]]:
    """Shapes of the arrays, by name."""
    return {name: header.shape for name, header in self._headers.items()}

  @property
  def dtypes(self) -> Mapping[str, np.dtype]:
    """Types of the arrays, by name."""
    return {name: header.dtype for name, header in self._headers.items()}

  def read(self, name: str) -> np.ndarray:
    """Reads an array.

    Raises:
      ValueError: If it is larger than `MAX_BYTES`, or is damaged.
    """
    header = self._headers[name]
    if header.nbytes > MAX_BYTES:
      raise ValueError(
          f'{self.path} holds {name} of {files.readable(header.nbytes)}, but'
          f' at most {files.readable(MAX_BYTES)} are read. Check the path.'
      )
    with self._reading(name), self._open(name) as file:
      _read_header(file)
      flat = np.frombuffer(_exactly(file, header.nbytes), header.dtype)
      _exactly(file, 0, last=True)
    order = 'F' if header.columns else 'C'
    return flat.reshape(header.shape, order=order)

  def rows(self, name: str, count: int) -> Iterator[np.ndarray]:
    """Reads an array in blocks of `count` rows; the last one may be shorter.

    Raises:
      ValueError: If it is stored column by column, or is damaged.
    """
    header = self._headers[name]
    if header.columns or not header.shape:
      raise ValueError(
          f'{self.path} holds {name} in an order from which rows cannot be'
          ' read. Save it again with numpy.savez of'
          ' numpy.ascontiguousarray(...).'
      )
    shape = header.shape[1:]
    size = math.prod(shape) * header.dtype.itemsize
    with self._reading(name), self._open(name) as file:
      _read_header(file)
      for start in range(0, header.shape[0], count):
        n = min(count, header.shape[0] - start)
        block = np.frombuffer(_exactly(file, n * size), header.dtype)
        yield block.reshape(n, *shape)
      _exactly(file, 0, last=True)

  def _open(self, name: str) -> IO[bytes]:
    return self._archive.open(f'{name}{_SUFFIX}')

  def _reading(self, what: str) -> '_NamingDamage':
    return _NamingDamage(self.path, what)

  def _read_headers(self) -> dict[str, _Header]:
    entries = [
        info
        for info in self._archive.infolist()
        if info.filename.endswith(_SUFFIX)
    ]
    names = [info.filename.removesuffix(_SUFFIX) for info in entries]
    if not names or len(names) > _MAX_ARRAYS or len(set(names)) < len(names):
      raise ValueError(
          f'{self.path} holds {len(names)} arrays, of which'
          f' {len(set(names))} have different names, but 1 to {_MAX_ARRAYS}'
          ' with different names are needed. Check the path.'
      )
    headers = {}
    for name, info in zip(names, entries):
      with self._reading(name), self._archive.open(info) as file:
        headers[name] = header = _read_header(file)
        if file.tell() + header.nbytes != info.file_size:
          raise ValueError('its size does not fit its shape')
    return headers


class _NamingDamage:
  """Turns all errors of reading an array into one that names the file."""

  def __init__(self, path: pathlib.Path, name: str):
    self._path, self._name = path, name

  def __enter__(self):
    return self

  def __exit__(self, kind, error, _):
    # Damaged, encrypted and unknown compression raise errors of many types.
    if not isinstance(error, Exception):
      return
    raise ValueError(
        f'{self._path} cannot be read: in {self._name[:80]!r}, {error}. Check'
        ' the path, and whether the download is complete.'
    ) from error


def _read_header(file: IO[bytes]) -> _Header:
  """Reads the header of an array.

  Raises:
    ValueError: If it is malformed, or the array is not of numbers or texts.
  """
  version = np.lib.format.read_magic(file)
  if version not in _READERS:
    raise ValueError(f'the version of the format is {version}')
  try:
    shape, columns, dtype = _READERS[version](file)
  except Exception as error:  # NumPy raises many types for malformed headers.
    raise ValueError(f'the header cannot be read ({error})') from error
  if dtype.hasobject or dtype.kind not in _KINDS:
    raise ValueError(
        f'values have the type {dtype}, and only numbers and texts are read'
    )
  if min(shape, default=1) < 0:
    raise ValueError(f'the shape is {shape}')
  return _Header(shape, dtype, columns, math.prod(shape) * dtype.itemsize)


def _exactly(file: IO[bytes], size: int, *, last: bool = False) -> bytearray:
  """Reads `size` bytes; with `last`, also checks that no more follow."""
  data = bytearray()
  while len(data) < size:
    block = file.read(min(size - len(data), _BLOCK_BYTES))
    if not block:
      raise ValueError('the values end too early')
    data += block
  # Reading the end also compares the checksum.
  if last and file.read(1):
    raise ValueError('bytes follow the values')
  return data


class StoredRows:
  """An array in an .npz file that is read in blocks of rows.

  Attributes:
    path: The file.
    name: Name of the array in it.
    shape: Its shape.
    dtype: Its type.
  """

  def __init__(self, file: NpzFile, name: str):
    """Remembers an array of an opened file, which may then be closed."""
    self.path, self.name = file.path, name
    self.shape, self.dtype = file.shapes[name], file.dtypes[name]

  def __len__(self) -> int:
    return self.shape[0]

  def blocks(self, count: int) -> Iterator[np.ndarray]:
    """Reads the array in blocks of `count` rows; the last may be shorter.

    Raises:
      ValueError: If the file is damaged, or has changed.
    """
    with NpzFile(self.path) as file:
      if file.shapes.get(self.name) != self.shape:
        raise ValueError(
            f'{self.path} changed while it was read. Run the command again.'
        )
      yield from file.rows(self.name, count)


def write(
    path: str | os.PathLike, arrays: Mapping[str, Array | StoredRows]
) -> None:
  """Writes an .npz file, which appears whole or not at all.

  Equal arrays give equal bytes. Values are not compressed.

  Args:
    path: The file.
    arrays: Arrays by name. `StoredRows` are copied in blocks.

  Raises:
    DiskFullError: If there is no room for the file.
  """
  needs = sum(
      math.prod(value.shape) * np.dtype(value.dtype).itemsize
      for value in arrays.values()
  )
  with (
      files.whole(path, needs=needs) as stream,
      zipfile.ZipFile(stream, 'w') as archive,
  ):
    for name, value in arrays.items():
      entry = zipfile.ZipInfo(f'{name}{_SUFFIX}')
      with archive.open(entry, 'w', force_zip64=True) as member:
        member.write(files.npy_header(value.dtype, tuple(value.shape)))
        if isinstance(value, StoredRows):
          row = max(1, math.prod(value.shape[1:]) * value.dtype.itemsize)
          for block in value.blocks(max(1, _BLOCK_BYTES // row)):
            member.write(block.tobytes())
        else:
          member.write(np.ascontiguousarray(value).tobytes())
