"""Reads the weights in a frozen graph of TensorFlow, without executing it.

The file is a protocol buffer, a `GraphDef` of tensorflow/core/framework. Its
nodes are operations. Those of the operation `Const` hold the weights. All other
nodes are skipped, so nothing in the file is run. The format has no checksums:
a changed bit among the values goes unnoticed.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import math
import mmap
import os
import pathlib
from typing import NamedTuple

import numpy as np

from rq_jax.conversion import file_kinds
from rq_jax.conversion.torch_format import calls
from rq_jax.conversion.torch_format import tensors
from rq_jax.conversion.torch_format import zips

# The network of FID has about 1,000 nodes of 10 fields each.
MAX_FIELDS = 1_000_000
# The largest array that may be stored as one number.
_MAX_REPEATED = 2**20
# How a field is stored: as a number of variable length, in 8 bytes, as a length
# and so many bytes, or in 4 bytes.
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_FLOAT32 = 1  # The number of the type in TensorFlow.


class _DamagedError(Exception):
  """What is wrong with a file."""


class _Range(NamedTuple):
  """Where some bytes are in the file."""

  start: int
  end: int


class _Constant(NamedTuple):
  """The shape of a constant, and where its values are: all, or only one."""

  shape: tuple[int, ...]
  values: _Range


@dataclasses.dataclass(frozen=True)
class FrozenGraph:
  """The float32 constants of a graph in an open file.

  Attributes:
    source: Path of the file.
  """

  source: pathlib.Path
  _constants: dict[str, _Constant]
  _fd: int

  @property
  def shapes(self) -> dict[str, tuple[int, ...]]:
    """Shapes of the constants by name, such as 'conv/conv2d_params'."""
    return {name: found.shape for name, found in self._constants.items()}

  @property
  def unwrapped(self) -> str:
    """An empty text: all constants are taken, from no other object."""
    return ''

  def read(self, name: str) -> np.ndarray:
    """The values of a constant, float32, in its own memory and in C order."""
    shape, (start, end) = self._constants[name]
    data = np.empty((end - start) // 4, '<f4')
    view = data.view(np.uint8).data
    zips.read_into(self._fd, start, view, self.source)
    if len(data) != math.prod(shape):
      return np.full(shape, data[0], np.float32)
    return data.reshape(shape).astype(np.float32, copy=False)


def is_frozen_graph(path: str | os.PathLike) -> bool:
  """Whether a file starts with a node that starts with its name."""
  file_kinds.require_file(pathlib.Path(path))
  with open(path, 'rb') as file:
    head = file.read(24)
  try:
    node, start = _varint(head, 0, len(head))
    _, start = _varint(head, start, len(head))
    name, _ = _varint(head, start, len(head))
  except _DamagedError:
    return False
  return node == name == 1 << 3 | _BYTES


@contextlib.contextmanager
def open_graph(path: str | os.PathLike) -> Iterator[FrozenGraph]:
  """Opens a frozen graph; its constants can be read while it is open.

  Args:
    path: Path of the file.

  Raises:
    ValueError: If the file is of another kind, or damaged.
  """
  path = pathlib.Path(path)
  file_kinds.require_file(path)
  with open(path, 'rb') as file:
    try:
      with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        constants = _Reader(data).constants()
    except _DamagedError as error:
      raise ValueError(
          f'{path} is damaged, or not a frozen graph of TensorFlow: {error}.'
          ' Download or copy it again.'
      ) from error
    yield FrozenGraph(path, constants, file.fileno())


class _Reader:
  """Reads messages of the format. Their fields have numbers, not names."""

  def __init__(self, data: mmap.mmap):
    self._data = data
    self._fields_left = MAX_FIELDS

  def constants(self) -> dict[str, _Constant]:
    """The float32 constants of a `GraphDef` by name."""
    found = {}
    for number, node in self._fields(_Range(0, len(self._data))):
      if number != 1:
        continue
      name, operation, value = self._node(_as_range(node))
      if operation != 'Const' or value is None:
        continue
      constant = self._tensor(value, name)
      if name in found:
        raise _DamagedError(f'{calls.shown(name)} occurs twice')
      if constant is not None:
        found[name] = constant
    if not found:
      raise _DamagedError('it holds no constant of float32')
    return found

  def _node(self, where: _Range) -> tuple[str, str, _Range | None]:
    """Name and operation of a `NodeDef`, and the tensor that it holds."""
    name, operation, tensor = '', '', None
    for number, value in self._fields(where):
      if number == 1:
        name = self._text(value)
      elif number == 2:
        operation = self._text(value)
      elif number == 5:
        tensor = self._attribute(_as_range(value)) or tensor
    return name, operation, tensor

  def _attribute(self, where: _Range) -> _Range | None:
    """The tensor of an attribute if its key is 'value'."""
    key, tensor = '', None
    for number, value in self._fields(where):
      if number == 1:
        key = self._text(value)
      elif number == 2:
        for inner, content in self._fields(_as_range(value)):
          if inner == 8:
            tensor = _as_range(content)
    return tensor if key == 'value' else None

  def _tensor(self, where: _Range, name: str) -> _Constant | None:
    """The constant in a `TensorProto`; None if it is not float32."""
    dtype, shape, values = 0, (), []
    for number, value in self._fields(where):
      if number == 1:
        dtype = value
      elif number == 2:
        shape = self._shape(_as_range(value))
      # Its bytes (`tensor_content`), or its numbers (`float_val`).
      elif number in (4, 5) and _as_range(value).start < _as_range(value).end:
        values.append(_as_range(value))
    if dtype != _FLOAT32:
      return None
    size = sum(part.end - part.start for part in values)
    count = math.prod(shape)
    repeated = size == 4 and count <= _MAX_REPEATED
    if len(values) != 1 or not count or not (size == 4 * count or repeated):
      raise _DamagedError(
          f'{calls.shown(name)} of shape {calls.shown(str(list(shape)))} has'
          f' {size} bytes in {len(values)} parts'
      )
    return _Constant(shape, values[0])

  def _shape(self, where: _Range) -> tuple[int, ...]:
    """The sizes in a `TensorShapeProto`."""
    shape = []
    for number, dimension in self._fields(where):
      if number == 2:
        size = 0
        for inner, value in self._fields(_as_range(dimension)):
          size = value if inner == 1 and isinstance(value, int) else size
        shape.append(size)
    if len(shape) > tensors.MAX_DIMENSIONS:
      raise _DamagedError(f'a constant has {len(shape)} dimensions')
    return tuple(shape)

  def _text(self, value: int | _Range) -> str:
    start, end = _as_range(value)
    try:
      return self._data[start:end].decode()
    except UnicodeDecodeError as error:
      raise _DamagedError(f'byte {start} starts no text') from error

  def _fields(self, where: _Range) -> Iterator[tuple[int, int | _Range]]:
    """Numbers of the fields of a message, each with its integer or range."""
    position, end = where
    while position < end:
      self._fields_left -= 1
      if self._fields_left < 0:
        raise _DamagedError(f'it has more than {MAX_FIELDS} fields')
      start = position
      tag, position = _varint(self._data, position, end)
      number, kind = tag >> 3, tag & 7
      if kind == _VARINT:
        value, position = _varint(self._data, position, end)
        yield number, value
        continue
      if kind == _BYTES:
        size, position = _varint(self._data, position, end)
      elif kind in (_FOUR_BYTES, _EIGHT_BYTES):
        size = {_FOUR_BYTES: 4, _EIGHT_BYTES: 8}[kind]
      else:
        raise _DamagedError(f'byte {start} starts a field of no known kind')
      if size > end - position:
        raise _DamagedError(
            f'the field at byte {start} should have {size} bytes, but only'
            f' {end - position} follow'
        )
      yield number, _Range(position, position + size)
      position += size


def _as_range(value: int | _Range) -> _Range:
  if isinstance(value, int):
    raise _DamagedError(f'a field holds the number {value} instead of bytes')
  return value


def _varint(data: bytes | mmap.mmap, start: int, end: int) -> tuple[int, int]:
  """A number of up to 64 bits in groups of seven, and where it ends."""
  value = 0
  for i in range(start, min(end, start + 10)):
    value |= (data[i] & 127) << (7 * (i - start))
    if data[i] < 128:
      return value, i + 1
  raise _DamagedError(f'the number at byte {start} does not end')
