"""Writes and checks `job.json`, which describes the job in a folder.

It lists all values that decide the bytes of the job, so that only the same job
resumes there, and its own hash. Folders of older jobs have no hashes.
"""

from collections.abc import Callable, Collection
import json
import os
import pathlib
from typing import Any

from etils import epath
import flax.traverse_util
import jax

from rq_jax import files
from rq_jax import hashes
from rq_jax.distributed import console
from rq_jax.distributed import processes

NAME = 'job.json'

_SHOWN = 60  # At most so many characters of a value appear in an error.


def open_folder(
    folder: epath.PathLike,
    asked: dict[str, Any],
    *,
    prepare: Callable[[], None],
    information: Collection[str] = (),
    advice: str = 'Choose another --out, or give the same values.',
) -> None:
  """Makes the folder of a job, or checks that it holds the same job.

  All processes of a program take part; only the first one writes.

  Args:
    folder: Folder of the job, given as --out.
    asked: All values that decide the bytes of the job, and `devices` if it
      computes on them. The devices are recorded but not compared: other devices
      may round values differently, yet a job must be able to continue on them.
    prepare: Called before `job.json` is written to a folder that exists but has
      none. It may refuse the folder, or remove files from it.
    information: Names of more values that are recorded but not compared.
    advice: Last sentence of the error about a folder that holds another job.

  Raises:
    ValueError: If the folder cannot be written, or holds another job.
  """
  folder = epath.Path(folder)
  file = folder / NAME
  asked = json.loads(json.dumps(asked))  # With the types that reading gives.
  noted = {'devices', *information}

  def begin() -> None:
    if file.exists():
      _check_same(file, asked, noted, advice)
      return
    if folder.exists():
      prepare()
    _write(file, asked)

  processes.only_first(begin)
  if jax.process_index():  # The first process may have other flags.
    _check_same(file, asked, noted, advice)


def check_writable(folder: epath.PathLike, *, given: str) -> None:
  """Refuses a folder that cannot be written, before a long computation.

  Creates nothing. Remote folders always pass.

  Args:
    folder: The folder; neither it nor its parents need to exist.
    given: The flag and value that name it or a file in it, for the error.

  Raises:
    ValueError: If the folder, or its nearest parent that exists, is no folder
      or may not be written.
  """
  if not files.is_local(folder):
    return
  found = pathlib.Path(os.path.abspath(folder))
  while not os.path.lexists(found):
    found = found.parent
  if not found.is_dir():
    raise _unwritable(given, f'{found} is not a folder')
  if not os.access(found, os.W_OK | os.X_OK):
    raise _unwritable(given, f'{found} is read-only')


def _unwritable(given: str, why: str | None) -> ValueError:
  flag = given.partition('=')[0]
  return ValueError(
      f'{given} cannot be written: {why}. Choose another {flag}, or change its'
      ' permissions.'
  )


def has_hashes(folder: epath.PathLike) -> bool:
  """Whether the job in a folder records hashes; older ones do not."""
  return hashes.is_sealed(files.read_json_object(epath.Path(folder) / NAME))


def describes(
    file: epath.PathLike,
    asked: dict[str, Any],
    *,
    information: Collection[str] = (),
) -> bool:
  """Whether a file written by `open_folder` describes the same job.

  Args:
    file: The file, which may have another name now.
    asked: As for `open_folder`.
    information: As for `open_folder`.
  """
  asked = _flat(json.loads(json.dumps(asked)))
  try:
    found = _flat(_read(epath.Path(file)))
  except (ValueError, OSError):
    return False
  return not _differences(found, asked, {'devices', *information})


def _write(file: epath.Path, asked: dict[str, Any]) -> None:
  try:
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(file, hashes.seal(asked))
  except files.DiskFullError:
    raise
  except OSError as error:
    raise _unwritable(f'--out={file.parent}', error.strerror) from error


def _check_same(
    file: epath.Path, asked: dict[str, Any], noted: set[str], advice: str
) -> None:
  found, asked = _flat(_read(file)), _flat(asked)
  for name in _differences(found, asked, noted):
    raise ValueError(
        f'{file} was begun with {name}={_shown(found.get(name))}, but this job'
        f' has {name}={_shown(asked.get(name))}. {advice}'
    )
  before, now = found.get('devices'), asked.get('devices')
  if before != now:
    console.tell(
        f'Note: this job was begun on {before} and continues on {now}. These'
        ' devices may round differently, so single values may differ.'
    )


def _read(file: epath.Path) -> dict[str, Any]:
  return hashes.unsealed(files.read_json_object(file), file)


def _differences(
    found: dict[str, Any], asked: dict[str, Any], noted: set[str]
) -> list[str]:
  """Names of values that differ, except for those that are only noted."""
  return [
      name
      for name in [*asked, *(found.keys() - asked)]
      if found.get(name) != asked.get(name) and name not in noted
  ]


def _flat(tree: dict[str, Any]) -> dict[str, Any]:
  return flax.traverse_util.flatten_dict(tree, sep='.')


def _shown(value: Any) -> str:
  text = json.dumps(value)
  return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'
