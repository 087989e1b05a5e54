"""The classes and functions that a checkpoint may name, and their stand-ins.

Python's own pickle machine imports and calls the functions that a pickle names.
Here a name is only a text, and each call that checkpoints need builds a value
of our own. Objects of all other classes become an `Opaque`, without contents.
"""

import collections
from collections.abc import Callable
import dataclasses
from typing import Any, NoReturn

from rq_jax.conversion.torch_format import tensors
from rq_jax.conversion.torch_format.tensors import LazyTensor
from rq_jax.conversion.torch_format.tensors import Storage

_MAX_DEVICE = 64

# With a space between module and name, as pickletools writes them.
STORAGES = {
    f'torch {name}': dtype for name, dtype in tensors.STORAGE_TYPES.items()
}
_KEYS = (str, int, bool, float, type(None))


class Name(str):
  """A name that a pickle would import; a type of its own, unlike strings."""


@dataclasses.dataclass(frozen=True)
class Opaque:
  """A class, function or object that is not read; only its name is known.

  Attributes:
    name: Module and name of the class, or of the function that would make the
      object, such as 'omegaconf.listconfig.ListConfig'.
  """

  name: str

  def __str__(self) -> str:
    return shown(self.name)


def shown(text: str) -> str:
  """A text from a file, shortened and escaped for an error."""
  return ascii(text if len(text) <= 80 else f'{text[:80]}...')


def are(values: Any, *types: Any) -> bool:
  """Whether `values` is a tuple whose items have these types, in order."""
  return (
      type(values) is tuple
      and len(values) == len(types)
      and all(map(isinstance, values, types))
  )


def is_key(value: Any) -> bool:
  """Whether dicts of a checkpoint may have this value as a key.

  Nested tuples are refused, because hashing small ones can take forever.
  """
  items = value if type(value) is tuple else (value,)
  return all(type(item) in _KEYS for item in items)


class Calls:
  """The calls of one pickle."""

  def __init__(self, refuse: Callable[[str], NoReturn]):
    self._refuse = refuse
    self._copied: dict[int, list] = {}

  def value(self, function: Any, arguments: Any) -> Any:
    """The value that represents the result of a call.

    Args:
      function: The called function; a `Name` or an `Opaque` if the pickle is
        well-formed. The call of an `Opaque` is not executed.
      arguments: A tuple of its arguments, if the pickle is well-formed.

    Raises:
      ValueError: From `refuse`, if checkpoints do not need this call.
    """
    if isinstance(function, Opaque):
      return function
    if not isinstance(function, Name):
      self._refuse(f'calls a {type(function).__name__}')
    for types, make in _FUNCTIONS.get(function, ()):
      if are(arguments, *types):
        return make(self, *arguments)
    return self._refuse(f'calls {shown(function)} with unknown arguments')

  def storage(self, identity: Any) -> Storage | Opaque:
    """The storage that the identity of an object outside the pickle names.

    Args:
      identity: If the pickle is well-formed, the tuple ('storage', class, key,
        device, size). Before PyTorch 1.6, the source of a module is stored as
        ('module', class, file, text); here, it is an object of that class.

    Raises:
      ValueError: From `refuse`, if it is anything else.
    """
    # Before PyTorch 1.6, a last item of None marked a whole storage.
    if are(identity, *(object,) * 5, type(None)):
      identity = identity[:-1]
    if are(identity, *(object,) * 5, tuple):
      self._refuse('has a storage that is a part of another one')
    if are(identity, str, Opaque, str | None, str | None) or are(
        identity, str, Opaque, str, str, int
    ):
      return identity[1]
    if not are(identity, str, Name, str, str, int):
      self._refuse('refers to something that is neither in it nor a storage')
    kind, name, key, _, numel = identity
    dtype = STORAGES.get(name)
    if kind != 'storage' or dtype is None or numel < 0:
      self._refuse(f'has a {shown(kind)} of {numel} times {shown(name)}')
    return Storage(key, dtype, numel)

  def _tensor(self, storage, offset, shape, stride, *_) -> LazyTensor:
    if not all(type(value) is int for value in (*shape, *stride)):
      self._refuse('has a tensor whose sizes are not integers')
    tensor = LazyTensor(storage.dtype, shape, stride, offset, storage.key)
    if problem := tensors.misfit(tensor, storage.numel):
      self._refuse(f'has a tensor that {problem}')
    return tensor

  def _ordered(self, pairs: list) -> collections.OrderedDict:
    """A dict from a list of pairs, as Python 2 wrote it."""
    # A long list that is used again and again would make a small file large.
    if id(pairs) in self._copied:
      self._refuse('makes two dicts from one list')
    self._copied[id(pairs)] = pairs
    for pair in pairs:
      if type(pair) not in (list, tuple) or len(pair) != 2:
        self._refuse('makes a dict from items that are not pairs')
      if not is_key(pair[0]):
        self._refuse(f'uses a {type(pair[0]).__name__} as a key')
    return collections.OrderedDict(pairs)

  def _device(self, kind: str, index: int | None = None) -> str:
    if len(kind) > _MAX_DEVICE:
      self._refuse(f'names a device with {len(kind)} letters')
    return kind if index is None else f'{kind}:{index}'


# Hooks are None or an empty dict; they are never read.
_HOOKS = dict | None

# For each function: types of its arguments, and the function that makes our
# value from them.
_FUNCTIONS = {
    'collections OrderedDict': [
        ((), lambda _: collections.OrderedDict()),
        ((list,), Calls._ordered),
    ],
    # Only its items are read, so its default factory is dropped.
    'collections defaultdict': [((Name | Opaque,), lambda *_: {})],
    'torch Size': [((tuple,), lambda _, sizes: sizes)],
    'torch device': [((str,), Calls._device), ((str, int), Calls._device)],
    'torch._utils _rebuild_parameter': [
        ((LazyTensor, bool, _HOOKS), lambda _, tensor, *rest: tensor)
    ],
    'torch._utils _rebuild_tensor_v2': [
        ((Storage, int, tuple, tuple, bool, _HOOKS), Calls._tensor),
        # A tensor of numbers that NumPy does not have.
        (
            (Opaque, int, tuple, tuple, bool, _HOOKS),
            lambda _, kind, *rest: kind,
        ),
    ],
    # PyTorch before 0.4 wrote this one and the next.
    'torch._utils _rebuild_tensor': [
        ((Storage, int, tuple, tuple), Calls._tensor)
    ],
    'torch.nn.parameter Parameter': [((LazyTensor,), lambda _, tensor: tensor)],
}
NAMES = {*_FUNCTIONS, *STORAGES, '__builtin__ dict', 'builtins dict'}
