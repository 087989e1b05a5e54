"""Interprets the pickle of a PyTorch file and executes nothing.

A pickle is a program for a stack machine. The one here knows the instructions
that build dicts, lists, tuples, strings and numbers. Where Python's own machine
imports and calls what the pickle names, this one looks the name up in a short
list and builds a value of its own. All other names and instructions are
refused, and so is whatever a checkpoint does not need: a tensor outside of its
storage, endless nesting, more values than anyone can walk over.
"""

import collections
from collections.abc import Iterator
import io
import os
import pickletools
from typing import Any, NoReturn

from rq_jax.conversion import torch_tensors
from rq_jax.conversion.torch_tensors import LazyTensor
from rq_jax.conversion.torch_tensors import Storage

# The largest official training checkpoint needs a tenth of each of these.
MAX_BYTES = 16 * 2**20
MAX_INSTRUCTIONS = 2_000_000
MAX_DEPTH = 64

_LITERALS = {'BINFLOAT', 'BININT', 'BININT1', 'BININT2', 'BINUNICODE'}
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_TUPLES = {'EMPTY_TUPLE': 0, 'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}

# Classes and functions, with a space between module and name as in pickletools.
_STORAGES = {
    f'torch {name}': dtype
    for name, dtype in torch_tensors.STORAGE_TYPES.items()
}


def parse(data: bytes, path: os.PathLike) -> tuple[Any, dict[str, Storage]]:
  """What a pickle describes, and the storages that it mentions.

  Args:
    data: The pickle, as `torch.save` writes it.
    path: Of the file that it is from, for messages.

  Returns:
    The tree that was saved, with a `LazyTensor` for each tensor, and storages
    by key. It has at most `MAX_INSTRUCTIONS` nodes, repetitions counted, and is
    at most `MAX_DEPTH` deep: every walk over it ends.

  Raises:
    ValueError: If it holds anything but tensors, plain values and containers.
  """
  machine = _Machine(path)
  return machine.run(data), machine.storages


def shown(text: str) -> str:
  """A text from a file, short and plain enough for a message."""
  return ascii(text if len(text) <= 80 else f'{text[:80]}...')


class _Name(str):
  """What a pickle would import: a text that is told from strings."""


class _Machine:
  """The stack machine. Marks are positions in the stack."""

  def __init__(self, path: os.PathLike):
    self.storages: dict[str, Storage] = {}
    self._path = path
    self._stack: list[Any] = []
    self._marks: list[int] = []
    self._memo: dict[int, Any] = {}

  def run(self, data: bytes) -> Any:
    """Executes the instructions; the value that is left is the result."""
    if len(data) > MAX_BYTES:
      self._refuse(f'has {len(data)} bytes, of which {MAX_BYTES} are allowed')
    for name, argument in self._instructions(io.BytesIO(data)):
      self._step(name, argument)
    if len(self._stack) != 1 or self._marks:
      self._refuse('does not end with exactly one value')
    self._check_tree(self._stack[0])
    return self._stack[0]

  def _refuse(self, what: str) -> NoReturn:
    raise ValueError(
        f'{self._path} cannot be read: its pickle {what}. A checkpoint holds'
        ' tensors, numbers, strings, lists and dicts; save it again with'
        ' torch.save and only these.'
    )

  def _instructions(self, stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    for _ in range(MAX_INSTRUCTIONS):
      opcode = _OPCODES.get(stream.read(1))
      if opcode is None:
        self._refuse('is cut off, or has an unknown instruction')
      if opcode.name == 'STOP':
        if stream.read(1):
          self._refuse('goes on after its end')
        return
      # Before its argument is looked at, which may be odd or huge.
      if opcode.name not in _INSTRUCTIONS:
        self._refuse(f'has the instruction {opcode.name}, unlike torch.save')
      try:
        if opcode.name == 'GLOBAL':
          argument = _read_name(stream)
        else:
          argument = opcode.arg.reader(stream) if opcode.arg else None
      except ValueError:
        self._refuse(f'is cut off or wrong in an instruction {opcode.name}')
      yield opcode.name, argument
    self._refuse(f'has more than {MAX_INSTRUCTIONS} instructions')

  def _step(self, name: str, argument: Any) -> None:
    if name in _LITERALS:
      self._stack.append(argument)
    elif name in _CONSTANTS:
      self._stack.append(_CONSTANTS[name])
    elif name in _TUPLES:
      self._stack.append(tuple(self._pop(_TUPLES[name])))
    elif name in ('BINPUT', 'LONG_BINPUT'):
      self._memo[argument] = self._top()
    elif name in ('BINGET', 'LONG_BINGET'):
      if argument not in self._memo:
        self._refuse('takes a value that it never put there')
      self._stack.append(self._memo[argument])
    else:
      _HANDLERS[name](self, argument)

  def _top(self) -> Any:
    if len(self._stack) <= (self._marks[-1] if self._marks else 0):
      self._refuse('takes a value where there is none')
    return self._stack[-1]

  def _pop(self, count: int) -> list[Any]:
    """The last `count` values, in the order in which they were pushed."""
    start = len(self._stack) - count
    if start < (self._marks[-1] if self._marks else 0):
      self._refuse('takes a value where there is none')
    values = self._stack[start:]
    del self._stack[start:]
    return values

  def _pop_mark(self) -> list[Any]:
    """All values after the last mark, which goes away."""
    if not self._marks:
      self._refuse('takes values back to a mark where there is none')
    values = self._pop(len(self._stack) - self._marks[-1])
    self._marks.pop()
    return values

  def _check_protocol(self, version: int) -> None:
    if version != 2:
      self._refuse(f'is of protocol {version}, while torch.save writes 2')

  def _long(self, value: int) -> None:
    if not -(2**63) <= value < 2**64:
      self._refuse('holds an integer of more than 64 bits')
    self._stack.append(value)

  def _extend(self, values: list[Any]) -> None:
    target = self._top()
    if type(target) is not list:
      self._refuse(f'appends to a {type(target).__name__}')
    target.extend(values)

  def _update(self, values: list[Any]) -> None:
    target = self._top()
    if not isinstance(target, dict) or len(values) % 2:
      self._refuse(f'sets half an item, or one of a {type(target).__name__}')
    for key, value in zip(values[::2], values[1::2]):
      if type(key) not in (str, int, bool):
        self._refuse(f'uses a {type(key).__name__} as a key')
      target[key] = value

  def _global(self, name: str) -> None:
    if name not in _NAMES:
      kind = 'a NumPy object, ' if name.startswith('numpy') else ''
      self._refuse(f'refers to {kind}{shown(name.replace(" ", ".", 1))}')
    self._stack.append(_Name(name))

  def _build(self) -> None:
    """Drops attributes: state dicts have the versions of their modules."""
    self._pop(1)
    if type(self._top()) is not collections.OrderedDict:
      self._refuse(f'sets attributes of a {type(self._top()).__name__}')

  def _storage(self) -> None:
    (identity,) = self._pop(1)
    if not _are(identity, (str, _Name, str, str, int)):
      self._refuse('refers to what is neither in it nor a storage')
    kind, name, key, _, numel = identity
    if kind != 'storage' or name not in _STORAGES or numel < 0:
      self._refuse(f'has a {shown(kind)} of {numel} times {shown(name)}')
    storage = Storage(key, _STORAGES[name], numel)
    if self.storages.setdefault(key, storage) != storage:
      self._refuse(f'describes storage {shown(key)} in two different ways')
    self._stack.append(storage)

  def _reduce(self) -> None:
    function, arguments = self._pop(2)
    if not isinstance(function, _Name):
      self._refuse(f'calls a {type(function).__name__}')
    for types, make in _FUNCTIONS.get(function, ()):
      if _are(arguments, types):
        self._stack.append(make(self, *arguments))
        return
    self._refuse(f'calls {shown(function)} with unknown arguments')

  def _tensor(self, storage, offset, shape, stride, *_) -> LazyTensor:
    if not all(type(value) is int for value in (*shape, *stride)):
      self._refuse('has a tensor whose sizes are no integers')
    tensor = LazyTensor(storage.dtype, shape, stride, offset, storage.key)
    if problem := torch_tensors.misfit(tensor, storage.numel):
      self._refuse(f'has a tensor that {problem}')
    return tensor

  def _check_tree(self, tree: Any) -> None:
    """Refuses what a walk would not finish, and what is no value."""
    waiting, count = [(tree, 0)], 1
    while waiting:
      value, depth = waiting.pop()
      children = ()
      if isinstance(value, dict):
        children = value.values()
      elif isinstance(value, list | tuple):
        children = value
      elif isinstance(value, _Name | Storage):
        self._refuse('holds a class or a storage outside of any tensor')
      count += len(children)
      if depth > MAX_DEPTH or count > MAX_INSTRUCTIONS:
        self._refuse('is nested too deeply, or repeats itself too often')
      waiting += ((child, depth + 1) for child in children)


# What stands for a call, for each kind of arguments. Nothing else is callable.
_FUNCTIONS = {
    'collections OrderedDict': [((), lambda _: collections.OrderedDict())],
    # Its keys are all there is to read; what makes further ones is not needed.
    'collections defaultdict': [((_Name,), lambda *_: {})],
    'torch Size': [((tuple,), lambda _, sizes: sizes)],
    'torch device': [
        ((str,), lambda _, kind: kind),
        ((str, int), lambda _, kind, index: f'{kind}:{index}'),
    ],
    'torch._utils _rebuild_parameter': [
        ((LazyTensor, bool, dict), lambda _, tensor, *rest: tensor)
    ],
    'torch._utils _rebuild_tensor_v2': [
        ((Storage, int, tuple, tuple, bool, dict), _Machine._tensor)
    ],
}
_NAMES = {*_FUNCTIONS, *_STORAGES, '__builtin__ dict', 'builtins dict'}

# What remains of an instruction once its argument is known.
_HANDLERS = {
    'PROTO': _Machine._check_protocol,
    'MARK': lambda machine, _: machine._marks.append(len(machine._stack)),
    'LONG1': _Machine._long,
    'TUPLE': lambda machine, _: machine._stack.append(
        tuple(machine._pop_mark())
    ),
    'EMPTY_LIST': lambda machine, _: machine._stack.append([]),
    'APPEND': lambda machine, _: machine._extend(machine._pop(1)),
    'APPENDS': lambda machine, _: machine._extend(machine._pop_mark()),
    'EMPTY_DICT': lambda machine, _: machine._stack.append({}),
    'SETITEM': lambda machine, _: machine._update(machine._pop(2)),
    'SETITEMS': lambda machine, _: machine._update(machine._pop_mark()),
    'GLOBAL': _Machine._global,
    'BUILD': lambda machine, _: machine._build(),
    'BINPERSID': lambda machine, _: machine._storage(),
    'REDUCE': lambda machine, _: machine._reduce(),
}
_MEMO = {'BINPUT', 'LONG_BINPUT', 'BINGET', 'LONG_BINGET'}
_INSTRUCTIONS = {*_LITERALS, *_CONSTANTS, *_TUPLES, *_MEMO, *_HANDLERS}
_OPCODES = {op.code.encode('latin-1'): op for op in pickletools.opcodes}


def _read_name(stream: io.BytesIO) -> str:
  """Module and name, each a line, which pickletools would unescape."""
  lines = [stream.readline(), stream.readline()]
  if not lines[1].endswith(b'\n'):
    raise ValueError('no end of line')
  return ' '.join(line[:-1].decode('ascii') for line in lines)


def _are(values: Any, types: tuple[type, ...]) -> bool:
  """Whether this is a tuple of values of these types."""
  return (
      type(values) is tuple
      and len(values) == len(types)
      and all(map(isinstance, values, types))
  )
