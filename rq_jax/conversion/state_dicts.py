"""Opens a file of weights of any kind, and finds the state dict in it.

A state dict maps names to tensors. Training code wraps it: into a dict with the
optimizer beside it (`state_dict`, `model`), by a prefix of every name
(`module.` of DataParallel, `model.` of Lightning), and with averages (EMA) next
to it. The rules here choose one state dict, or refuse to choose; what was taken
and what was left out is said in one sentence.
"""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import os
import pathlib
from typing import Any, Protocol

import numpy as np

from rq_jax.conversion import file_kinds
from rq_jax.conversion import safetensors_format
from rq_jax.conversion.torch_format import reading
from rq_jax.conversion.torch_format.calls import shown

# The usual names of the model in a wrapper.
_MODELS = ('state_dict', 'model_state_dict', 'model', 'module', 'net')
# Parts with one of these words hold averages of the parameters.
_AVERAGES = ('ema', 'averaged', 'shadow')
# Prefixes of all names: of DataParallel, torch.compile and Lightning.
_PREFIXES = ('module.', '_orig_mod.', 'model.')
_LIGHTNING = 'pytorch-lightning_version'
_MAX_LEVELS = 4
_LISTED = 8


class Tensor(Protocol):
  """A tensor in an open file, whose values are not read yet."""

  @property
  def dtype(self) -> np.dtype:
    """Type of the elements."""
    ...

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape of the tensor."""
    ...

  @property
  def nbytes(self) -> int:
    """Bytes of all elements."""
    ...


@dataclasses.dataclass(frozen=True)
class StateDict:
  """The tensors of a model in an open file.

  Attributes:
    source: Path of the file.
    tensors: The tensors by name, without the prefixes that were removed.
    unwrapped: What was taken from the file and what was left out, as a
      sentence; empty if the file holds just these tensors.
  """

  source: pathlib.Path
  tensors: Mapping[str, Tensor]
  unwrapped: str
  _file: reading.TorchFile | safetensors_format.SafetensorsFile

  @property
  def shapes(self) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors by name."""
    return {name: tensor.shape for name, tensor in self.tensors.items()}

  def read(self, name: str) -> np.ndarray:
    """The values of a tensor, in its own memory and in C order.

    Raises:
      ValueError: If they are damaged.
    """
    return self._file.read(self.tensors[name])  # type: ignore[arg-type]


@contextlib.contextmanager
def open_state_dict(path: str | os.PathLike) -> Iterator[StateDict]:
  """Opens the state dict in a file; tensors can be read while it is open.

  Args:
    path: A file of `torch.save` of any release, or a safetensors file. Its
      first bytes decide which it is.

  Raises:
    ValueError: If the file is of another kind or damaged, holds no state dict,
      or holds several.
  """
  with open_file(path) as file:
    found = unwrap(file.tree, file.path)
    yield StateDict(file.path, found.tensors, found.sentence(), file)


def open_file(
    path: str | os.PathLike,
) -> reading.TorchFile | safetensors_format.SafetensorsFile:
  """Opens a file of weights by its first bytes; a context manager.

  Raises:
    ValueError: If the file is of another kind, or damaged.
  """
  file_kinds.require_file(pathlib.Path(path))
  if safetensors_format.is_safetensors(path):
    return safetensors_format.SafetensorsFile(path)
  return reading.TorchFile(path)


@dataclasses.dataclass(frozen=True)
class Found:
  """A state dict in a tree.

  Attributes:
    tensors: Its tensors by name.
    keys: Names of the parts in which it was found, from the outside.
    prefix: What was removed from the start of every name.
    ignored: Names of what was left out.
  """

  tensors: dict[str, Any]
  keys: tuple[str, ...] = ()
  prefix: str = ''
  ignored: tuple[str, ...] = ()

  def sentence(self) -> str:
    """What was taken and left out, as a sentence; empty if nothing was."""
    parts = []
    if self.keys:
      where = ' -> '.join(map(shown, self.keys))
      parts.append(f'took the arrays in {where}')
    if self.prefix:
      parts.append(f'removed {shown(self.prefix)} from their names')
    if self.ignored:
      more = len(self.ignored) - _LISTED
      names = ', '.join(map(shown, self.ignored[:_LISTED]))
      parts.append(
          f'ignored {names}' + (f' and {more} more' if more > 0 else '')
      )
    text = ', '.join(parts)
    return f'{text[:1].upper()}{text[1:]}.' if text else ''


def unwrap(tree: Any, path: str | os.PathLike) -> Found:
  """Finds the state dict in what a file holds.

  A dict with tensors is a state dict. In any other dict, the state dict is the
  part with a usual name, such as 'state_dict' or 'model'; else the only part
  that holds tensors. Averages are taken only if there is nothing else.

  Args:
    tree: The saved object.
    path: Path of the file, for errors.

  Raises:
    ValueError: If there is no state dict, or if several could be meant.
  """
  keys, ignored = [], []
  is_lightning = isinstance(tree, Mapping) and _LIGHTNING in tree
  while not _is_state_dict(tree):
    key = _chosen(tree, path, keys)
    ignored += ['.'.join((*keys, str(k))) for k in tree if k != key]
    keys.append(key)
    tree = tree[key]
  tensors = {n: t for n, t in tree.items() if _is_tensor(t)}
  ignored += [str(name) for name in tree if name not in tensors]
  # The counter of torch.optim.swa_utils.AveragedModel.
  if tensors.keys() - {'n_averaged'} and 'n_averaged' in tensors:
    del tensors['n_averaged']
    ignored.append('n_averaged')
  if is_lightning and (own := [n for n in tensors if n.startswith('model.')]):
    ignored += [name for name in tensors if not name.startswith('model.')]
    tensors = {name: tensors[name] for name in own}
  prefix = ''
  while shared := [
      p for p in _PREFIXES if all(n.startswith(prefix + p) for n in tensors)
  ]:
    prefix += shared[0]
  return Found(
      {name.removeprefix(prefix): t for name, t in tensors.items()},
      tuple(keys),
      prefix,
      tuple(ignored),
  )


def _is_tensor(value: Any) -> bool:
  return isinstance(value, reading.LazyTensor | safetensors_format.StoredTensor)


def _is_state_dict(tree: Any) -> bool:
  return isinstance(tree, Mapping) and any(
      isinstance(name, str) and _is_tensor(value)
      for name, value in tree.items()
  )


def _holds_one(tree: Any, levels: int) -> bool:
  """Whether a tree is a state dict, or a wrapper of one."""
  return _is_state_dict(tree) or (
      isinstance(tree, Mapping)
      and levels > 0
      and any(
          key in _MODELS and _holds_one(value, levels - 1)
          for key, value in tree.items()
      )
  )


def _chosen(tree: Any, path: str | os.PathLike, keys: list[str]) -> str:
  """Name of the part of a wrapper that holds the state dict."""
  where = f'{path} -> {" -> ".join(keys)}' if keys else str(path)
  if not isinstance(tree, Mapping):
    raise ValueError(
        f'{where} must hold a state dict, but holds a'
        f' {type(tree).__name__}. Save the state_dict() of the model with'
        ' torch.save.'
    )
  holding = [
      key
      for key, value in tree.items()
      if isinstance(key, str) and _holds_one(value, _MAX_LEVELS - len(keys))
  ]
  plain = [key for key in holding if not is_average(key)]
  usual = [key for key in plain if key in _MODELS]
  candidates = usual or plain or holding
  if not candidates:
    listed = ', '.join(shown(str(key)) for key in list(tree)[:_LISTED])
    raise ValueError(
        f'{where} must hold a state dict, but holds {listed or "nothing"}. Save'
        ' the state_dict() of the model with torch.save.'
    )
  if len(candidates) > 1:
    listed = ' and '.join(map(shown, candidates[:_LISTED]))
    raise ValueError(
        f'{where} holds several models: {listed}. Save the one that you want'
        ' in a file of its own.'
    )
  return candidates[0]


def is_average(key: str) -> bool:
  """Whether a part with this name holds averages of the parameters."""
  words = key.lower().replace('-', '_').split('_')
  return any(word in _AVERAGES for word in words)
