"""Where examples come from: random access to images, one dict per example.

Every source has a length and answers `source[i]` with

  image   uint8[h, w, 3]
  label   int32[]

and is cheap to copy into the loader's worker processes. `features.Features`
is the same for the cache that stage 2 reads.
"""

from collections.abc import Mapping
import importlib
from typing import Any, Protocol

from rq_jax.config.sources import SOURCES


class Source(Protocol):
  """Random access to examples."""

  @property
  def num_classes(self) -> int:
    """Classes of the data; labels lie in [0, num_classes)."""
    ...

  def __len__(self) -> int:
    """Number of examples."""
    ...

  def __getitem__(self, index: int) -> dict[str, Any]:
    """One example, by name."""
    ...


def open_source(data: Any, split: str) -> Source:
  """Opens a split of the source that an experiment names.

  Args:
    data: Its section `data`, a `config.sections.Data`. `data.source` is the
      name of a module of this package, which has a function `open_split`.
    split: 'train' or 'test'.

  Raises:
    ValueError: If there is no such source or split, or its files are missing.
  """
  if data.source not in SOURCES:
    raise ValueError(
        f'config.data.source is {data.source!r}; possible are'
        f' {", ".join(SOURCES)}; set --config.data.source to one of them'
    )
  module = importlib.import_module(f'{__name__}.{data.source}')
  return module.open_split(data, split)


def check_classes(num_classes: int, opened: Mapping[str, Source]) -> str | None:
  """Refuses labels that a stage-2 model has no class for, in either split.

  JAX would train another row of the table with them. A model may have more
  classes than the data.

  Args:
    num_classes: Classes of the model; 0 if it reads no labels.
    opened: The splits by name.

  Returns:
    A sentence that names classes which no example trains, if there are any.

  Raises:
    ValueError: If the data have more classes than the model.
  """
  if not num_classes:
    return None
  for split, source in opened.items():
    if (count := source.num_classes) > num_classes:
      raise ValueError(
          f'config.model.num_classes={num_classes}, but the {split} split of'
          f' the data has {count} classes: the model has no class for the'
          f' labels from {num_classes} to {count - 1}. Set'
          f' --config.model.num_classes={count}, or choose other data with'
          ' --config.data.path.'
      )
  if (count := opened['train'].num_classes) < num_classes:
    return (
        f'The model has {num_classes} classes and the data have {count}: no'
        f' example trains the classes from {count} to {num_classes - 1}.'
    )
  return None
