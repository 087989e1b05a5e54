"""Reads safetensors files, without the package.

A file starts with eight bytes, the size of its header. The header is JSON and
has an entry for each tensor, {"dtype", "shape", "data_offsets"}, and texts in
"__metadata__". The values of the tensors follow, without gaps, in C order and
little-endian. The format has no checksums, so a changed bit among the values
goes unnoticed. The layout is checked as the package checks it: the tensors must
fill the rest of the file exactly.
"""

import dataclasses
import json
import math
import os
import pathlib
from typing import Any

import ml_dtypes
import numpy as np

from rq_jax.conversion import file_kinds
from rq_jax.conversion.torch_format import calls
from rq_jax.conversion.torch_format import tensors
from rq_jax.conversion.torch_format import zips

# The names of the format, and the types of their elements.
_DTYPES = {
    name: np.dtype(dtype)
    for name, dtype in {
        'F64': np.float64,
        'F32': np.float32,
        'F16': np.float16,
        'BF16': ml_dtypes.bfloat16,
        'I64': np.int64,
        'I32': np.int32,
        'I16': np.int16,
        'I8': np.int8,
        'U64': np.uint64,
        'U32': np.uint32,
        'U16': np.uint16,
        'U8': np.uint8,
        'BOOL': np.bool_,
    }.items()
}
# About 100 bytes for each tensor; the largest models have some thousands.
MAX_HEADER = 16 * 2**20
# No size, position or number of elements may be larger.
_LIMIT = 2**56
_SIZE = 8
_FIELDS = {'dtype', 'shape', 'data_offsets'}
_METADATA = '__metadata__'


def is_safetensors(path: str | os.PathLike) -> bool:
  """Whether a file has the name or the first bytes of a safetensors file."""
  with open(path, 'rb') as file:
    head = file.read(_SIZE + 1)
  plausible = head[_SIZE:] == b'{' and head[5:_SIZE] == b'\0\0\0'
  return plausible or pathlib.Path(path).suffix == '.safetensors'


@dataclasses.dataclass(frozen=True)
class StoredTensor:
  """A tensor in a file, whose values are not read yet.

  Attributes:
    dtype: Type of the elements in NumPy; bfloat16 is the type of ml_dtypes.
    shape: Shape of the tensor.
    start: Position of its first byte after the header.
  """

  dtype: np.dtype
  shape: tuple[int, ...]
  start: int

  @property
  def nbytes(self) -> int:
    """Bytes of all elements."""
    return math.prod(self.shape) * self.dtype.itemsize


class SafetensorsFile:
  """A safetensors file, opened for reading. Use as a context manager.

  Attributes:
    path: Path of the file.
    tree: A `StoredTensor` for each tensor, by name.

  Raises:
    ValueError: If the file is of another kind, or damaged.
  """

  def __init__(self, path: str | os.PathLike):
    self.path = pathlib.Path(path)
    file_kinds.require_file(self.path)
    self._fd = os.open(self.path, os.O_RDONLY)
    try:
      self._start, header = self._header()
      # Nothing needs its texts, such as the name of the library.
      if not isinstance(header.pop(_METADATA, {}), dict):
        raise self._damaged(f'its {_METADATA} is no dict')
      self.tree: dict[str, StoredTensor] = {
          name: self._tensor(name, entry) for name, entry in header.items()
      }
      self._check_layout()
    except BaseException:
      self.close()
      raise

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def close(self) -> None:
    """Closes the file; arrays that were read stay valid."""
    if self._fd >= 0:
      os.close(self._fd)
    self._fd = -1

  def read(self, tensor: StoredTensor) -> np.ndarray:
    """The values of a tensor of `tree`, in its own memory and in C order.

    Raises:
      ValueError: If they are damaged, or the file is closed.
    """
    if self._fd < 0:
      raise ValueError(f'{self.path} is closed. Read tensors while it is open.')
    array = np.empty(tensor.shape, tensor.dtype)
    if array.nbytes:
      data = array.reshape(-1).view(np.uint8)
      start = self._start + tensor.start
      zips.read_into(self._fd, start, data.data, self.path)
      if tensor.dtype == np.bool_ and data.max() > 1:
        raise self._damaged(
            'a tensor of booleans holds bytes that are neither true nor false'
        )
    return array

  def _damaged(self, what: str) -> ValueError:
    return ValueError(
        f'{self.path} is damaged, or not a safetensors file: {what}. Download'
        ' or copy it again.'
    )

  def _header(self) -> tuple[int, dict[str, Any]]:
    """Where the values start, and the parsed header."""
    size = os.fstat(self._fd).st_size
    head = zips.read_bytes(
        self._fd, 0, min(size, file_kinds.HEAD_BYTES), self.path
    )
    if found := file_kinds.recognised(head):
      kind, advice = found
      raise ValueError(
          f'{self.path} is {kind}, not a safetensors file. {advice}'
      )
    if size < _SIZE:
      raise self._damaged(f'it has only {size} bytes')
    length = int.from_bytes(head[:_SIZE], 'little')
    if length > size - _SIZE:
      raise self._damaged(
          f'its header should have {length} bytes, but only {size - _SIZE}'
          ' follow'
      )
    if length > MAX_HEADER:
      raise self._damaged(
          f'its header has {length} bytes, but at most {MAX_HEADER} are read'
      )
    text = zips.read_bytes(self._fd, _SIZE, length, self.path)
    try:
      header = json.loads(text.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
      what = ' '.join(str(error).split())[:120]
      raise self._damaged(f'its header cannot be read ({what})') from error
    if not isinstance(header, dict):
      raise self._damaged('its header is no dict')
    return _SIZE + length, header

  def _tensor(self, name: str, entry: Any) -> StoredTensor:
    shown = calls.shown(name)
    if not isinstance(entry, dict) or entry.keys() != _FIELDS:
      raise self._damaged(f'the entry of {shown} lacks a field, or has others')
    kind, shape, ends = entry['dtype'], entry['shape'], entry['data_offsets']
    dtype = _DTYPES.get(kind) if isinstance(kind, str) else None
    if dtype is None:
      raise ValueError(
          f'{self.path}: {shown} has the type {calls.shown(str(kind))}, but'
          f' rq_jax reads only {", ".join(_DTYPES)}. Give a file with one of'
          ' these types.'
      )
    if not _are_sizes(shape) or len(shape) > tensors.MAX_DIMENSIONS:
      raise self._damaged(f'the shape of {shown} is not a list of sizes')
    if not _are_sizes(ends) or len(ends) != 2:
      raise self._damaged(f'the offsets of {shown} are not two positions')
    # A tensor with a size of 0 has no bytes, but NumPy multiplies its sizes.
    if math.prod(max(size, 1) for size in shape) > _LIMIT:
      raise self._damaged(f'{shown} has an impossible shape')
    tensor = StoredTensor(dtype, tuple(shape), ends[0])
    if tensor.nbytes != ends[1] - ends[0]:
      raise self._damaged(
          f'{shown} should have {tensor.nbytes} bytes, but its offsets give'
          f' {ends[1] - ends[0]}'
      )
    return tensor

  def _check_layout(self) -> None:
    """Refuses gaps, overlaps, and bytes that belong to no tensor."""
    size = os.fstat(self._fd).st_size - self._start
    end = 0
    # An empty tensor comes before the one that starts at the same position.
    for name, tensor in sorted(
        self.tree.items(), key=lambda item: (item[1].start, item[1].nbytes)
    ):
      if tensor.start != end:
        raise self._damaged(
            f'{calls.shown(name)} starts at byte {tensor.start} instead of'
            f' {end}, so tensors overlap or leave a gap'
        )
      end += tensor.nbytes
    if end != size:
      raise self._damaged(
          f'its tensors have {end} bytes, but {size} follow its header'
      )


def _are_sizes(values: Any) -> bool:
  """Whether this is a list of integers from 0 to `_LIMIT`."""
  return isinstance(values, list) and all(
      type(value) is int and 0 <= value <= _LIMIT for value in values
  )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  """A JSON object as a dict; refuses names that occur twice."""
  found = dict(pairs)
  if len(found) < len(pairs):
    raise ValueError('a name occurs twice')
  return found
