"""The number and the names of the classes of a dataset in tar files."""

from collections.abc import Sequence
import pathlib

import numpy as np

from rq_jax import files
from rq_jax.data import file_names
from rq_jax.data.tar_shards.table import Table


def find(
    root: str, tables: Sequence[Table], paths: Sequence[str]
) -> tuple[int, tuple[str, ...] | None]:
  """The number of classes, and their names if they are known.

  The names are read from `classes.json`, a list, or `classes.txt`, one per
  line, in the folder of the dataset. Without them, the number of classes is the
  largest label + 1.

  Args:
    root: The folder.
    tables: The samples of all tar files, of all splits.
    paths: Paths of the tar files, for errors.

  Returns:
    The number of classes, 0 if no sample has a label; and the names by label.

  Raises:
    ValueError: If only some samples have labels, or there are labels without
      names.
  """
  largest = -1
  unlabelled = []
  for table, path in zip(tables, paths, strict=True):
    largest = max(largest, int(table.labels.max(initial=-1)))
    if len(without := np.flatnonzero(table.labels < 0)):
      unlabelled.append(f'{path}/{file_names.shown(table.names[without[0]])}')
  if largest < 0:
    return 0, None
  if unlabelled:
    raise ValueError(
        f'{unlabelled[0]} has no label, but other samples in {root} have one.'
        ' Give all samples a label (.cls), or none, or move the tar files'
        ' without labels to another folder.'
    )
  names = _read_names(pathlib.Path(root))
  if names is not None and largest >= len(names):
    raise ValueError(
        f'{root} has the label {largest}, but its list of classes has only'
        f' {len(names)} names. Correct or remove the list.'
    )
  return len(names or range(largest + 1)), names


def _read_names(root: pathlib.Path) -> tuple[str, ...] | None:
  if (path := root / 'classes.json').exists():
    names = files.read_json(path)
    if not isinstance(names, list):
      raise ValueError(f'{path} is not a list of names. Correct or remove it.')
    return tuple(map(str, names))
  if (path := root / 'classes.txt').exists():
    return tuple(path.read_text(encoding='utf-8').splitlines())
  return None
