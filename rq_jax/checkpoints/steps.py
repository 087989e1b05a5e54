"""Finds the checkpoints of a folder that are whole, and reports the others.

A copy that was cut off, a damaged file or a folder made by hand must not keep a
run from its last good checkpoint. So the newest whole one is used, and newer
ones are reported with the reason for skipping them.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple, TypeAlias

from etils import epath
import orbax.checkpoint as ocp

from rq_jax import files
from rq_jax.checkpoints import manifests
from rq_jax.distributed import console
from rq_jax.typing import PyTree

# Errors of reading a damaged checkpoint. Other errors, such as those about
# memory or permissions, do not mean that it is damaged. Orbax raises those of
# types and attributes for JSON that is valid, but has other contents.
_DAMAGE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    FileNotFoundError,
    EOFError,
)
# Words in tensorstore's errors that are not about damage.
_NO_DAMAGE = (
    'PERMISSION_DENIED',
    'RESOURCE_EXHAUSTED',
    'UNAVAILABLE',
    'DEADLINE_EXCEEDED',
)

_LENGTH = 200  # Characters of an error that are shown.


class Described(NamedTuple):
  """A checkpoint without the values of its arrays.

  Attributes:
    arrays: Orbax's metadata of each array.
    meta: The values in `meta`.
    manifest: The manifest; None if the checkpoint has none, or if it is not
      compared.
  """

  arrays: PyTree
  meta: dict[str, Any]
  manifest: manifests.Manifest | None


# Returns why a step cannot be restored, or None.
Judge: TypeAlias = Callable[[int], str | None]


class DamagedError(ValueError):
  """A requested checkpoint cannot be read.

  Attributes:
    reason: Why it cannot be read.
  """

  def __init__(self, message: str, reason: str):
    """Stores the message, and the reason, which is part of it."""
    super().__init__(message)
    self.reason = reason


def find(
    path: epath.PathLike, step: int | None, judge: Judge | None = None
) -> int:
  """Returns the requested step, or the newest one that can be restored.

  Newer steps that cannot be restored are reported on the standard output.

  Args:
    path: A run's folder, or an inference copy.
    step: The requested step; None for the newest.
    judge: Function that returns why a step cannot be restored, or None if it
      can; by default `problem`, which does not read the arrays.

  Raises:
    ValueError: If there is no such step, or no step can be restored; a
      `DamagedError` if the requested step cannot be restored.
  """
  judge = judge or functools.partial(problem, path)
  found = finished(path)
  if not found:
    raise ValueError(
        f'{path} holds no complete checkpoint yet. Train until the first one is'
        ' saved, see --config.train.checkpoint_steps.'
    )
  if step is None:
    return _newest(path, found, judge)
  if step not in found:
    raise ValueError(
        f'{path} has no checkpoint of step {step}; it has {found}. Choose one'
        ' of these steps, or leave the step out for the newest.'
    )
  if (why := judge(step)) is not None:
    raise DamagedError(
        f'Checkpoint {step} of {path} cannot be read: {why}. The folder has'
        f' {found}. Choose another of these steps, or leave the step out for'
        ' the newest that is whole.',
        why,
    )
  return step


def _newest(path: epath.PathLike, found: list[int], judge: Judge) -> int:
  problems = {}
  for step in reversed(found):
    if (why := judge(step)) is None:
      for other, reason in problems.items():
        note(
            f'Skipping checkpoint {other} of {path}: {reason}. Using step'
            f' {step} instead.'
        )
      return step
    problems[step] = why
  listed = '; '.join(f'{step}: {why}' for step, why in problems.items())
  raise ValueError(
      f'No checkpoint in {folder(path)} can be read. {listed}. Restore what'
      ' is named from a copy, or remove the checkpoints to start again.'
  )


def finished(path: epath.PathLike) -> list[int]:
  """Steps of a folder's finished checkpoints in order; some may be damaged."""
  where = folder(path)
  found = ocp.utils.checkpoint_steps(where) if where.exists() else []
  return sorted(found)


def folder(path: epath.PathLike) -> epath.Path:
  """The folder of checkpoints in a run's folder or an inference copy."""
  return epath.Path(path).resolve() / 'checkpoints'


def problem(
    path: epath.PathLike, step: int, *, verify: bool = True
) -> str | None:
  """Returns why a checkpoint cannot be restored, or None; reads no arrays."""
  try:
    described(path, step, verify=verify)
  except Exception as error:
    return damage(error)
  return None


def described(
    path: epath.PathLike, step: int, *, verify: bool = True
) -> Described:
  """Reads all of a checkpoint, except for its arrays.

  Args:
    path: A run's folder, or an inference copy.
    step: Step of the checkpoint.
    verify: Whether to compare what is read, and `config.json`, with the
      checkpoint's manifest.

  Raises:
    Exception: If the checkpoint is not whole; `damage` returns the reason.
  """
  where = folder(path) / str(step)
  for name in ('state', 'meta'):
    if not (where / name).is_dir():
      raise ValueError(f'it has no {name}')
  meta = files.read_json_object(where / 'meta' / 'metadata')
  files.read_json_object(where / 'state' / '_METADATA')
  manifest = manifests.read(where, meta) if verify else None
  arrays = ocp.PyTreeCheckpointHandler().metadata(where / 'state').tree
  if manifest is not None:
    manifests.check_listed(manifest, arrays)
    manifests.check_config(manifest, path)
  meta.pop(manifests.ITEM, None)
  return Described(arrays, meta, manifest)


def damage(error: Exception) -> str:
  """Returns what is damaged in a checkpoint, from the error of reading it.

  Raises:
    Exception: The error itself, if it is not about damage, but about memory,
      permissions or a network that fails.
  """
  if type(error) is Exception and isinstance(error.__cause__, Exception):
    return damage(error.__cause__)  # Orbax wraps the errors of tensorstore.
  if not isinstance(error, _DAMAGE) or any(w in str(error) for w in _NO_DAMAGE):
    raise error
  return shown(error)


def shown(error: Exception) -> str:
  """The beginning of an error's message, in one line."""
  text = ' '.join(str(error).split()).rstrip('.')
  if not isinstance(error, ValueError):  # Other messages are no sentences.
    text = f'{type(error).__name__}: {text}'
  return text if len(text) <= _LENGTH else f'{text[:_LENGTH]} ...'


@functools.cache
def note(text: str) -> None:
  """Prints a text in the first process, and each text only once."""
  console.tell(text)


def set_aside(path: epath.PathLike, step: int) -> None:
  """Moves all steps after this one away, so that this one is the newest.

  Nothing is removed: `checkpoints/99` becomes `damaged_checkpoints/99`.
  """
  target = epath.Path(path).resolve() / 'damaged_checkpoints'
  for other in finished(path):
    if other <= step:
      continue
    target.mkdir(exist_ok=True)
    names = (f'{other}', *(f'{other}-{i}' for i in range(1, 1000)))
    free = next(name for name in names if not (target / name).exists())
    (folder(path) / str(other)).rename(target / free)
    note(f'Checkpoint {other} was moved to {target / free}.')
