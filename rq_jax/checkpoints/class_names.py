"""Keeps the names of the classes that a model was trained with.

They are in `classes.json`, a list by label, beside the `config.json` of a model
whose data had names of classes.
"""

from collections.abc import Sequence

from etils import epath

from rq_jax import files

FILE = 'classes.json'


def read(folder: epath.PathLike) -> tuple[str, ...] | None:
  """Reads the names of the classes by label; None if the folder has none.

  Args:
    folder: A run's folder, or an inference copy.

  Raises:
    ValueError: If the file is damaged.
  """
  file = epath.Path(folder) / FILE
  if not file.exists():
    return None
  names = files.read_json(file)
  if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
    raise ValueError(
        f'{file} is damaged: it must be a list of the names of the classes.'
        ' Restore the file from a copy.'
    )
  return tuple(names)


def write(folder: epath.PathLike, names: Sequence[str] | None) -> None:
  """Writes the names of the classes, if they are known.

  Raises:
    DiskFullError: If there is no room for the file.
  """
  if names is None:
    return
  # Names of folders may have bytes that are not UTF-8; JSON escapes them.
  files.write_json(epath.Path(folder) / FILE, list(names))


def check(folder: epath.PathLike, names: Sequence[str] | None) -> None:
  """Checks that the data of a run still have the classes of the run.

  Args:
    folder: The folder of the run. Without names in it, all names are accepted.
    names: The names of the classes of the data; None if they are unknown.

  Raises:
    ValueError: If the names differ. The message names the first difference.
  """
  before = read(folder)
  if before is None or names is None or before == tuple(names):
    return
  label = 0
  while before[label : label + 1] == tuple(names[label : label + 1]):
    label += 1
  was, now = (
      repr(of[label]) if label < len(of) else 'no class'
      for of in (before, names)
  )
  raise ValueError(
      f'The classes of the data have changed: label {label} was {was} in'
      f' {epath.Path(folder) / FILE}, and is {now}. The model would confuse'
      ' them. Restore the folders of the data (--config.data.path), or train in'
      ' another --workdir.'
  )
