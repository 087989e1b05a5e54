"""`job.json`: what decides the bytes of a job, so that only it is resumed."""

from collections.abc import Callable, Collection
import json
from typing import Any

from etils import epath
import flax
import jax

from rq_jax import files
from rq_jax.distributed import console
from rq_jax.distributed import processes

NAME = 'job.json'

_SHOWN = 60  # Characters of a value, in an error.


def open_folder(
    folder: epath.PathLike,
    asked: dict[str, Any],
    *,
    prepare: Callable[[], None],
    information: Collection[str] = (),
    advice: str = 'Choose another --out, or the same values.',
) -> None:
  """Makes the folder of a job, or checks that it holds this very job.

  All processes of a program take part; only the first writes.

  Args:
    folder: Of the job, which was given as --out.
    asked: All that decides the bytes of the job; and `devices`, which is noted.
      Other devices round otherwise, which may move a value by a little; a job
      may go on without those that it began on.
    prepare: Called before the job is noted in a folder that exists but has no
      `job.json`: refuses the folder, or removes files from it.
    information: Names of what is noted only, too.
    advice: What to do about a folder that holds another job.

  Raises:
    ValueError: If it cannot be written, or holds anything else.
  """
  folder = epath.Path(folder)
  file = folder / NAME
  asked = json.loads(json.dumps(asked))  # As it will be read.
  noted = {'devices', *information}

  def begin() -> None:
    if file.exists():
      _check_same(file, asked, noted, advice)
      return
    if folder.exists():
      prepare()
    _write(file, asked)

  processes.only_first(begin)
  if jax.process_index():  # The first may have begun it with other flags.
    _check_same(file, asked, noted, advice)


def _write(file: epath.Path, asked: dict[str, Any]) -> None:
  try:
    file.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(file) as stream:
      stream.write(f'{json.dumps(asked, indent=2)}\n'.encode())
  except files.DiskFullError:
    raise
  except OSError as error:
    raise ValueError(
        f'--out={file.parent} cannot be written: {error.strerror}. Choose'
        ' another folder, or change its permissions.'
    ) from error


def _check_same(
    file: epath.Path, asked: dict[str, Any], noted: set[str], advice: str
) -> None:
  found = _flat(files.read_json_object(file))
  asked = _flat(asked)
  for name in [*asked, *(found.keys() - asked)]:
    before, now = found.get(name), asked.get(name)
    if before != now and name not in noted:
      raise ValueError(
          f'{file} was begun with {name}={_shown(before)}, but this is'
          f' {name}={_shown(now)}. {advice}'
      )
  before, now = found.get('devices'), asked['devices']
  if before != now:
    console.tell(
        f'Note: begun on {before}, goes on with {now}, which may round'
        ' otherwise: single values may differ.'
    )


def _flat(tree: dict[str, Any]) -> dict[str, Any]:
  return flax.traverse_util.flatten_dict(tree, sep='.')


def _shown(value: Any) -> str:
  text = json.dumps(value)
  return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'
