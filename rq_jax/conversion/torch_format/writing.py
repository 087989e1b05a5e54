"""Writes files that `torch.load` reads, without PyTorch.

Tensors are read and written one after another, so that a checkpoint may be
larger than the memory.
"""

import collections
import os
import pathlib
import pickle
import struct
from typing import Any, NoReturn
import zipfile

import numpy as np

from rq_jax.conversion.torch_format import tensors
from rq_jax.conversion.torch_format import unpickling

# The alignment of torch.save, which allows mapping storages into memory.
_ALIGNMENT = 64
# Well below the 4 GiB that the older headers can hold.
_ZIP64_FROM = 2**30
_LOCAL_HEADER = 30
_ZIP64_EXTRA = 20
_NAMES = {dtype: name for name, dtype in tensors.STORAGE_TYPES.items()}


def write(path: str | os.PathLike, tree: Any) -> None:
  """Writes a tree such that `torch.load(path, weights_only=True)` returns it.

  After an error the file may be incomplete. Write to a folder that is renamed
  when all is done, such as one of `files.whole_folder`.

  Args:
    path: Path of the file; an existing file is replaced.
    tree: Dicts, OrderedDicts, lists, tuples, strings, numbers, booleans and
      None. Tensors are NumPy arrays, or objects with a `shape`, a `dtype` and
      a method `read` that returns such an array. An object that occurs several
      times becomes several tensors that share one storage.

  Raises:
    ValueError: If the tree holds anything else.
  """
  path = pathlib.Path(path)
  pickler = _Pickler(path)
  pickled = pickler.dumps(tree)
  with open(path, 'wb') as stream:
    with zipfile.ZipFile(stream, 'w') as archive:
      _add(archive, stream, 'data.pkl', pickled)
      _add(archive, stream, 'byteorder', b'little')
      for key, leaf in enumerate(pickler.leaves):
        _add(archive, stream, f'data/{key}', _values(leaf, path))
      _add(archive, stream, 'version', b'3\n')
    stream.flush()
    os.fsync(stream.fileno())


def _add(
    archive: zipfile.ZipFile, stream, name: str, data: bytes | memoryview
) -> None:
  """Appends a member whose data starts at a multiple of the alignment."""
  info = zipfile.ZipInfo(f'archive/{name}')
  large = len(data) >= _ZIP64_FROM
  start = stream.tell() + _LOCAL_HEADER + len(info.filename)
  start += large * _ZIP64_EXTRA
  # The padding is an extra field of a private kind, after its four bytes.
  padding = -(start + 4) % _ALIGNMENT
  info.extra = struct.pack('<2sH', b'FB', padding) + padding * b'Z'
  with archive.open(info, 'w', force_zip64=large) as member:
    member.write(data)


def _values(leaf: Any, path: pathlib.Path) -> memoryview:
  """The bytes of a tensor in C order."""
  array = leaf if isinstance(leaf, np.ndarray) else leaf.read()
  if array.shape != tuple(leaf.shape) or array.dtype != leaf.dtype:
    raise ValueError(
        f'{path} cannot be written: a tensor declared as'
        f' {leaf.dtype}{list(leaf.shape)} was read as'
        f' {array.dtype}{list(array.shape)}. Its method `read` must return the'
        ' declared type and shape.'
    )
  return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


class _Pickler:
  """Writes the instructions that `unpickling` reads.

  Attributes:
    leaves: The tensors, in the order of the keys of their storages.
  """

  def __init__(self, path: pathlib.Path):
    self.leaves: list[Any] = []
    self._path = path
    self._keys: dict[int, str] = {}
    self._out = bytearray()

  def dumps(self, tree: Any) -> bytes:
    """The pickle of a tree."""
    self._out += pickle.PROTO + b'\2'
    self._value(tree, depth=0)
    self._out += pickle.STOP
    if len(self._out) > unpickling.MAX_BYTES:
      self._refuse(f'{len(self._out)} bytes beside the tensors')
    return bytes(self._out)

  def _refuse(self, what: str) -> NoReturn:
    raise ValueError(
        f'{self._path} cannot be written: it would hold {what}. Give arrays,'
        ' numbers, strings, lists, tuples and dicts.'
    )

  def _value(self, value: Any, *, depth: int) -> None:
    if depth > unpickling.MAX_DEPTH:
      self._refuse(f'more than {unpickling.MAX_DEPTH} nested containers')
    if value is None:
      self._out += pickle.NONE
    elif isinstance(value, bool):
      self._out += pickle.NEWTRUE if value else pickle.NEWFALSE
    elif isinstance(value, int):
      self._int(value)
    elif isinstance(value, float):
      self._out += pickle.BINFLOAT + struct.pack('>d', value)
    elif isinstance(value, str):
      text = value.encode('utf-8', 'surrogatepass')
      self._out += pickle.BINUNICODE + struct.pack('<I', len(text)) + text
    elif isinstance(value, list):
      self._out += pickle.EMPTY_LIST + pickle.MARK
      self._values(value, depth=depth)
      self._out += pickle.APPENDS
    elif isinstance(value, tuple):
      self._out += pickle.MARK
      self._values(value, depth=depth)
      self._out += pickle.TUPLE
    elif isinstance(value, dict):
      self._dict(value, depth=depth)
    elif hasattr(value, 'shape') and hasattr(value, 'dtype'):
      self._tensor(value)
    else:
      self._refuse(f'a {type(value).__name__}')

  def _values(self, values: Any, *, depth: int) -> None:
    for value in values:
      self._value(value, depth=depth + 1)

  def _int(self, value: int) -> None:
    if -(2**31) <= value < 2**31:
      self._out += pickle.BININT + struct.pack('<i', value)
    elif -(2**63) <= value < 2**64:
      data = pickle.encode_long(value)
      self._out += pickle.LONG1 + bytes([len(data)]) + data
    else:
      self._refuse('an integer of more than 64 bits')

  def _dict(self, value: dict, *, depth: int) -> None:
    if isinstance(value, collections.OrderedDict):
      self._ordered_dict()
    else:
      self._out += pickle.EMPTY_DICT
    self._out += pickle.MARK
    for key, item in value.items():
      if not isinstance(key, str | int):
        self._refuse(f'a dict with a {type(key).__name__} as a key')
      self._values((key, item), depth=depth)
    self._out += pickle.SETITEMS

  def _ordered_dict(self) -> None:
    self._global('collections', 'OrderedDict')
    self._out += pickle.EMPTY_TUPLE + pickle.REDUCE

  def _global(self, module: str, name: str) -> None:
    self._out += pickle.GLOBAL + f'{module}\n{name}\n'.encode()

  def _tensor(self, leaf: Any) -> None:
    """Writes a call of the PyTorch function that makes a tensor."""
    shape = tuple(int(n) for n in leaf.shape)
    name = _NAMES.get(np.dtype(leaf.dtype))
    readable = isinstance(leaf, np.ndarray) or hasattr(leaf, 'read')
    if name is None or not readable or len(shape) > tensors.MAX_DIMENSIONS:
      self._refuse(f'a {type(leaf).__name__} of {leaf.dtype}{list(shape)}')
    if id(leaf) not in self._keys:
      self._keys[id(leaf)] = str(len(self.leaves))
      self.leaves.append(leaf)
    stride, numel = [], 1
    for n in reversed(shape):
      stride.insert(0, numel)
      numel *= n
    self._global('torch._utils', '_rebuild_tensor_v2')
    self._out += pickle.MARK + pickle.MARK
    self._value('storage', depth=0)
    self._global('torch', name)
    self._values((self._keys[id(leaf)], 'cpu', numel), depth=0)
    self._out += pickle.TUPLE + pickle.BINPERSID
    self._values((0, shape, tuple(stride), False), depth=0)
    self._ordered_dict()
    self._out += pickle.TUPLE + pickle.REDUCE
