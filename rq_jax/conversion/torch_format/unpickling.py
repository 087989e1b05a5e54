"""Interprets the pickle of a PyTorch file without executing anything.

A pickle is a program for a stack machine. The machine here knows only the
instructions that build dicts, lists, tuples, strings and numbers. Where
Python's own machine imports and calls the functions that the pickle names, this
one builds values by the short list in `calls`. An object of any other class is
an `Opaque`: a name without contents, for the configs and loggers in training
checkpoints. The machine refuses all other instructions, and everything else
that a checkpoint does not need: tensors outside of their storage, endless
nesting, and trees too large to walk over.
"""

import collections
from collections.abc import Iterator
import io
import os
from typing import Any, NoReturn

from rq_jax.conversion.torch_format import calls
from rq_jax.conversion.torch_format import numpy_arrays
from rq_jax.conversion.torch_format import opcodes
from rq_jax.conversion.torch_format import trees
from rq_jax.conversion.torch_format.calls import shown
from rq_jax.conversion.torch_format.tensors import LazyTensor
from rq_jax.conversion.torch_format.tensors import Storage

# The largest official training checkpoint needs a tenth of each limit.
MAX_BYTES = 16 * 2**20
MAX_INSTRUCTIONS = 2_000_000
MAX_DEPTH = 64

_LITERALS = {
    'BINFLOAT',
    'BININT',
    'BININT1',
    'BININT2',
    'BINUNICODE',
    *opcodes.BYTES,
}
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_TUPLES = {'EMPTY_TUPLE': 0, 'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}


def parse(
    data: bytes, path: os.PathLike, *, arrays: bool = False
) -> tuple[Any, dict[str, Storage]]:
  """The tree that a pickle describes, and the storages that it mentions.

  Args:
    data: The pickle, as `torch.save` writes it.
    path: Path of the file that holds it, for errors.
    arrays: Whether it may hold NumPy arrays, which become `PickledArray`s.

  Returns:
    The saved tree, with a `LazyTensor` for each tensor, and the storages by
    key. The tree has at most `MAX_INSTRUCTIONS` nodes, including repetitions,
    and at most `MAX_DEPTH` levels, so that every walk over it ends. Objects of
    unknown classes are `calls.Opaque`.

  Raises:
    ValueError: If it is damaged, is itself an object of an unknown class, or
      does what no checkpoint needs.
  """
  machine = _Machine(path, arrays=arrays)
  stream = io.BytesIO(data)
  if len(data) > machine.max_bytes:
    machine.refuse(
        f'has {len(data)} bytes, but only {machine.max_bytes} are allowed'
    )
  tree = machine.run(stream)
  if stream.read(1):
    machine.refuse('continues after its end')
  return tree, machine.storages


def parse_first(
    data: bytes, path: os.PathLike
) -> tuple[Any, dict[str, Storage], int]:
  """The tree that the pickle at the start of some bytes describes.

  Args:
    data: The pickle and any bytes after it; `MAX_BYTES + 1` bytes suffice.
    path: Path of the file that holds it, for errors.

  Returns:
    Tree and storages, as `parse` returns them, and the length of the pickle.

  Raises:
    ValueError: As `parse` does.
  """
  machine = _Machine(path)
  stream = io.BytesIO(data)
  tree = machine.run(stream)
  return tree, machine.storages, stream.tell()


class _Machine:
  """The stack machine. Marks are positions in the stack."""

  def __init__(self, path: os.PathLike, *, arrays: bool = False):
    self.storages: dict[str, Storage] = {}
    self.max_bytes = numpy_arrays.MAX_BYTES if arrays else MAX_BYTES
    self._arrays = numpy_arrays.Calls(self.refuse) if arrays else None
    self._path = path
    self._stack: list[Any] = []
    self._marks: list[int] = []
    self._memo: dict[int, Any] = {}
    self._calls = calls.Calls(self.refuse)

  def run(self, stream: io.BytesIO) -> Any:
    """Interprets all instructions; returns the value that is left."""
    for name, argument in self._instructions(stream):
      self._step(name, argument)
    if len(self._stack) != 1 or self._marks:
      self.refuse('does not end with exactly one value')
    tree = self._stack[0]
    if problem := trees.problem(tree, MAX_INSTRUCTIONS, MAX_DEPTH):
      self.refuse(problem)
    return tree

  def refuse(self, what: str) -> NoReturn:
    """Raises the error for a pickle that does something forbidden."""
    raise ValueError(
        f'{self._path} cannot be read: its pickle {what}. Save only tensors,'
        ' numbers, strings, lists and dicts with torch.save, such as the'
        ' state_dict() of a model.'
    )

  def _damaged(self, what: str) -> NoReturn:
    raise ValueError(
        f'{self._path} is damaged: its pickle is {what}. Download or copy it'
        ' again.'
    )

  def _instructions(self, stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    for _ in range(MAX_INSTRUCTIONS):
      code = stream.read(1)
      self._check_length(stream)
      if not code:
        self._damaged('cut off')
      opcode = opcodes.OPCODES.get(code)
      if opcode is None:
        self.refuse('has an unknown instruction')
      if opcode.name == 'STOP':
        return
      # Checked before its argument is read, which may be malformed or huge.
      if opcode.name not in _INSTRUCTIONS:
        self.refuse(f'has the instruction {opcode.name}, unlike torch.save')
      try:
        argument = opcodes.argument(opcode, stream)
      except ValueError:
        self._check_length(stream)
        self._damaged(f'cut off or wrong in an instruction {opcode.name}')
      yield opcode.name, argument
    self.refuse(f'has more than {MAX_INSTRUCTIONS} instructions')

  def _check_length(self, stream: io.BytesIO) -> None:
    if stream.tell() > self.max_bytes:
      self.refuse(f'has more than {self.max_bytes} bytes')

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
        self.refuse('takes a value that it never put there')
      self._stack.append(self._memo[argument])
    else:
      _HANDLERS[name](self, argument)

  def _top(self) -> Any:
    if len(self._stack) <= (self._marks[-1] if self._marks else 0):
      self.refuse('takes a value where there is none')
    return self._stack[-1]

  def _pop(self, count: int) -> list[Any]:
    """The last `count` values, in the order in which they were pushed."""
    start = len(self._stack) - count
    if start < (self._marks[-1] if self._marks else 0):
      self.refuse('takes a value where there is none')
    values = self._stack[start:]
    del self._stack[start:]
    return values

  def _pop_mark(self) -> list[Any]:
    """Pops the last mark and all values after it; returns the values."""
    if not self._marks:
      self.refuse('takes values back to a mark where there is none')
    values = self._pop(len(self._stack) - self._marks[-1])
    self._marks.pop()
    return values

  def _check_protocol(self, version: int) -> None:
    if version != 2:
      self.refuse(f'has protocol {version}, but torch.save writes protocol 2')

  def _long(self, value: int) -> None:
    if not -(2**63) <= value < 2**64:
      self.refuse('holds an integer of more than 64 bits')
    self._stack.append(value)

  def _extend(self, values: list[Any]) -> None:
    target = self._top()
    if type(target) is list:
      target.extend(values)
    elif not isinstance(target, calls.Opaque):
      self.refuse(f'appends to a {type(target).__name__}')

  def _update(self, values: list[Any]) -> None:
    target = self._top()
    if isinstance(target, calls.Opaque):
      return
    if not isinstance(target, dict) or len(values) % 2:
      self.refuse(f'sets half an item, or one of a {type(target).__name__}')
    for key, value in zip(values[::2], values[1::2]):
      if not calls.is_key(key):
        self.refuse(f'uses a {type(key).__name__} as a key')
      target[key] = value

  def _global(self, name: str) -> None:
    known = calls.NAMES | (numpy_arrays.NAMES if self._arrays else set())
    if name in known:
      self._stack.append(calls.Name(name))
    else:
      self._stack.append(calls.Opaque(name.replace(' ', '.', 1)))

  def _new_object(self) -> None:
    kind, arguments = self._pop(2)
    if not isinstance(kind, calls.Opaque) or type(arguments) is not tuple:
      self.refuse('has the instruction NEWOBJ without an unknown class')
    self._stack.append(kind)

  def _build(self) -> None:
    """Drops attributes, such as the module versions of state dicts."""
    (state,) = self._pop(1)
    target = self._top()
    if self._arrays and self._arrays.build(target, state):
      return
    # Before PyTorch 0.4, parameters had three attributes; none is needed.
    of_parameter = calls.are(state, bool, bool, dict | None)
    if isinstance(target, LazyTensor) and of_parameter:
      return
    if not isinstance(target, collections.OrderedDict | calls.Opaque):
      self.refuse(f'sets attributes of a {type(target).__name__}')

  def _call(self) -> Any:
    function, arguments = self._pop(2)
    named = isinstance(function, calls.Name)
    if self._arrays and named and function in numpy_arrays.NAMES:
      return self._arrays.value(function, arguments)
    return self._calls.value(function, arguments)

  def _storage(self) -> None:
    storage = self._calls.storage(*self._pop(1))
    if isinstance(storage, Storage):
      key = storage.key
      if self.storages.setdefault(key, storage) != storage:
        self.refuse(f'describes storage {shown(key)} in two different ways')
    self._stack.append(storage)


# Functions that execute an instruction, given the machine and the argument.
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
    'NEWOBJ': lambda machine, _: machine._new_object(),
    'REDUCE': lambda machine, _: machine._stack.append(machine._call()),
}
_MEMO = {'BINPUT', 'LONG_BINPUT', 'BINGET', 'LONG_BINGET'}
_INSTRUCTIONS = {*_LITERALS, *_CONSTANTS, *_TUPLES, *_MEMO, *_HANDLERS}
