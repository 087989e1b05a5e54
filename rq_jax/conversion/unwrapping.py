"""Finds the state dict in what a file of weights holds.

A state dict maps names to tensors. Training code wraps it: into a dict with the
optimizer beside it (`state_dict`, `model`), by a prefix of every name
(`module.` of DataParallel, `model.` of Lightning), and with averages (EMA) next
to it. The rules here choose one state dict, or refuse to choose. One sentence
lists what was taken and what was left out.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os
from typing import Any

from rq_jax.conversion import safetensors_format
from rq_jax.conversion.torch_format import calls
from rq_jax.conversion.torch_format import reading

Tensor = reading.LazyTensor | safetensors_format.StoredTensor

# The usual names of the model in a wrapper.
_MODELS = ('state_dict', 'model_state_dict', 'model', 'module', 'net')
# Parts with one of these words in their names hold averages of parameters.
_AVERAGES = {'ema', 'averaged', 'shadow'}
# Prefixes of all names: of DataParallel, torch.compile and Lightning.
_PREFIXES = ('module.', '_orig_mod.', 'model.')
_LIGHTNING = 'pytorch-lightning_version'
# The counter of torch.optim.swa_utils.AveragedModel.
_COUNTER = 'n_averaged'
_MAX_LEVELS = 4
_LISTED = 12
_SAVE = 'Save the state_dict() of the model with torch.save.'


@dataclasses.dataclass(frozen=True)
class Found:
  """A state dict in a tree.

  Attributes:
    tensors: Its tensors by name, without prefixes.
    keys: Names of the parts in which it was found, from the outside.
    prefix: What was removed from the start of every name.
    ignored: Names of what was left out, quoted for a message.
  """

  tensors: Mapping[str, Tensor]
  keys: tuple[str, ...]
  prefix: str
  ignored: tuple[str, ...]

  def sentence(self) -> str:
    """What was taken and left out, as a sentence; empty if nothing was."""
    parts = []
    if self.keys:
      where = ' -> '.join(map(calls.shown, self.keys))
      parts.append(f'took the arrays in {where}')
    if self.prefix:
      parts.append(f'removed {calls.shown(self.prefix)} from their names')
    if self.ignored:
      parts.append(f'ignored {_listed(self.ignored)}')
    text = '; '.join(parts)
    return f'{text[:1].upper()}{text[1:]}.' if text else ''


def unwrap(
    tree: Any, path: str | os.PathLike, *, averages: bool = False
) -> Found:
  """Finds the state dict in what a file holds.

  The state dict is the part with a usual name, such as 'state_dict' or 'model';
  else the tree itself, if it holds tensors; else its only part that does.
  Parts with averages are taken only on request, or if there is nothing else.
  From a checkpoint of Lightning, only names that start with 'model.' are taken,
  if there are any. A prefix that all names share is removed.

  Args:
    tree: The saved object.
    path: Path of the file, for errors.
    averages: Whether to take the averages of the parameters.

  Raises:
    ValueError: If there is no state dict, or if several could be meant.
  """
  whole, keys, ignored = tree, [], []
  while not _holds_tensors(tree) or any(
      _holds_model(tree.get(key)) for key in _MODELS
  ):
    key = _chosen(tree, f'{path}', keys, averages)
    ignored += [_shown(n, value) for n, value in tree.items() if n != key]
    keys.append(key)
    tree = tree[key]
  if averages and not any(map(_is_average, keys)):
    has = sorted(calls.shown(str(name)) for name in whole)
    raise ValueError(
        f'{path} has no averaged parameters; it holds {_listed(has)}. Leave out'
        ' --ema.'
    )
  tensors = dict(filter(_is_named_tensor, tree.items()))
  if len(tensors) > 1:
    tensors.pop(_COUNTER, None)
  of_model = [name for name in tensors if name.startswith('model.')]
  if _LIGHTNING in whole and of_model:
    tensors = {name: tensors[name] for name in of_model}
  ignored += [_shown(n, v) for n, v in tree.items() if n not in tensors]
  prefix = _prefix(list(tensors))
  tensors = {name.removeprefix(prefix): t for name, t in tensors.items()}
  return Found(tensors, tuple(keys), prefix, tuple(ignored))


def _is_named_tensor(item: tuple[Any, Any]) -> bool:
  """Whether an item of a tree is a tensor, and its key is a name."""
  name, value = item
  return isinstance(name, str) and isinstance(value, Tensor)


def _is_average(key: str) -> bool:
  return not _AVERAGES.isdisjoint(key.lower().replace('-', '_').split('_'))


def _holds_tensors(tree: Any) -> bool:
  return isinstance(tree, Mapping) and any(map(_is_named_tensor, tree.items()))


def _holds_model(tree: Any, levels: int = _MAX_LEVELS) -> bool:
  """Whether a tree, or a part of it with a usual name, holds tensors."""
  return levels > 0 and (
      _holds_tensors(tree)
      or (
          isinstance(tree, Mapping)
          and any(_holds_model(tree.get(key), levels - 1) for key in _MODELS)
      )
  )


def _chosen(tree: Any, path: str, keys: list[str], averages: bool) -> str:
  """Name of the part of a wrapper that holds the state dict."""
  where = ' -> '.join((path, *map(calls.shown, keys)))
  if not isinstance(tree, Mapping):
    raise ValueError(
        f'{where} must hold a state dict, but holds {_kind(tree)}. {_SAVE}'
    )
  levels = _MAX_LEVELS - len(keys)
  holding = [
      key
      for key, value in tree.items()
      if isinstance(key, str) and _holds_model(value, levels)
  ]
  averaged = [key for key in holding if _is_average(key)]
  plain = [key for key in holding if key not in averaged]
  usual = [key for key in plain if key in _MODELS]
  candidates = (averages and averaged) or usual or plain or averaged
  if not candidates:
    has = [_shown(name, value) for name, value in tree.items()]
    raise ValueError(
        f'{where} must hold a state dict, but holds {_listed(has)}. {_SAVE}'
    )
  if len(candidates) > 1:
    raise ValueError(
        f'{where} holds several models:'
        f' {_listed(list(map(calls.shown, candidates)))}. Save the one that you'
        ' want in a file of its own.'
    )
  return candidates[0]


def _prefix(names: list[str]) -> str:
  """What all names start with, if it is one or more of the usual prefixes."""
  prefix = ''
  while shared := [
      part
      for part in _PREFIXES
      if all(name.startswith(prefix + part) for name in names)
  ]:
    prefix += shared[0]
  return prefix


def _kind(value: Any) -> str:
  if isinstance(value, calls.Opaque):
    return f'an object of {value}'
  return f'a {type(value).__name__}'


def _shown(name: Any, value: Any) -> str:
  """A name for a message, with the kind of a value that is not read."""
  shown = calls.shown(str(name))
  if isinstance(value, calls.Opaque):
    return f'{shown} ({_kind(value)})'
  return shown


def _listed(names: Sequence[str]) -> str:
  more = len(names) - _LISTED
  listed = ', '.join(names[:_LISTED]) or 'nothing'
  return listed + (f' and {more} more' if more > 0 else '')
