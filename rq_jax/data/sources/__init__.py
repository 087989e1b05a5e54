"""Where examples come from: random access to images, one dict per example.

Every source has a length and answers `source[i]` with

  image   uint8[h, w, 3]
  label   int32[]

and is cheap to copy into the loader's worker processes. `features.Features`
is the same for the cache that stage 2 reads.
"""

import importlib
from typing import Any, Protocol

from rq_jax.config import sections
from rq_jax.config import source_table


class Source(Protocol):
  """Random access to examples."""

  @property
  def num_classes(self) -> int:
    """Classes of the data; labels lie in [0, num_classes)."""
    ...

  @property
  def listing(self) -> str | None:
    """SHA-256 of the names and labels of its files; None without files."""
    ...

  def __len__(self) -> int:
    """Number of examples."""
    ...

  def __getitem__(self, index: int) -> dict[str, Any]:
    """One example, by name."""
    ...


def open_source(data: sections.Data, split: str) -> Source:
  """Opens a split of the source that an experiment names.

  Args:
    data: Its section `data`. `data.source` is the name of a module of this
      package, which has a function `open_split`.
    split: 'train' or 'test'.

  Raises:
    ValueError: If there is no such source or split, or its files are missing.
  """
  if data.source not in source_table.SOURCES:
    raise ValueError(
        f'config.data.source is {data.source!r}; possible are'
        f' {", ".join(source_table.SOURCES)}; set --config.data.source to one'
        ' of them'
    )
  module = importlib.import_module(f'{__name__}.{data.source}')
  return module.open_split(data, split)


def check_classes(num_classes: int, train: Source, test: Source) -> str | None:
  """Refuses labels that a stage-2 model has no class for, in either split.

  JAX would train another row of the table with them. A model may have more
  classes than the data.

  Args:
    num_classes: Classes of the model; 0 if labels do not condition it.
    train: The training split of its data.
    test: The held-out split.

  Returns:
    A sentence that names classes which no example trains, if there are any.

  Raises:
    ValueError: If the data have more classes than the model.
  """
  if not num_classes:
    return None  # Labels are not read.
  # Most sources count both together.
  counts = {'train': train.num_classes, 'test': test.num_classes}
  for split, count in counts.items():
    if count > num_classes:
      raise ValueError(
          f'config.model.num_classes={num_classes}, but the {split} split of'
          f' the data has {count} classes: the model has no class for the'
          f' labels from {num_classes} to {count - 1}. Set'
          f' --config.model.num_classes={count}, or'
          ' choose other data with --config.data.path.'
      )
  if (count := train.num_classes) < num_classes:
    return (
        f'The model has {num_classes} classes and the data have {count}: no'
        f' example trains the classes from {count} to {num_classes - 1}.'
    )
  return None
