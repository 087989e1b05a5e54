"""Data sources: random access to examples, one dict per example.

Every source has a length, and `source[i]` returns

  image   uint8[h, w, 3]
  label   int32[]

Sources are cheap to copy into the worker processes of the loader. The source
`features.Features`, the cache that stage 2 reads, returns 'features' instead of
'image'.
"""

from collections.abc import Callable, Sequence
import importlib
from typing import Any, Protocol, runtime_checkable

from rq_jax.config import sections
from rq_jax.config import source_table


class Examples(Protocol):
  """Random access to examples."""

  def __len__(self) -> int:
    """Number of examples."""
    ...

  def __getitem__(self, index: int) -> dict[str, Any]:
    """One example, as arrays by name."""
    ...


class Source(Examples, Protocol):
  """The examples of a split, and properties of the whole split."""

  @property
  def num_classes(self) -> int:
    """Number of classes of the data; labels lie in [0, num_classes)."""
    ...

  @property
  def class_names(self) -> tuple[str, ...] | None:
    """Names of the classes by label; None if they are unknown."""
    ...

  @property
  def listing(self) -> str | None:
    """SHA-256 of the names and labels of all files; None without files."""
    ...


@runtime_checkable
class ImageFiles(Protocol):
  """What a source has, too, if its examples are image files."""

  def content(self, index: int) -> bytes:
    """The content of an image file, not decoded.

    Raises:
      image_files.BrokenImageError: If it cannot be read.
    """
    ...

  def name(self, index: int) -> str:
    """Where an image file lies, for messages."""
    ...


@runtime_checkable
class Texts(Protocol):
  """What a source has, too, if its examples may have texts."""

  has_texts: bool

  def text(self, index: int) -> str:
    """The text of an example, if `has_texts` is true."""
    ...


def open_source(data: sections.Data, split: str) -> Source:
  """Opens a split of the source that an experiment names.

  Args:
    data: The section `data` of the experiment. `data.source` is the name of a
      module of this package, which has a function `open_split`.
    split: 'train' or 'test'.

  Raises:
    ValueError: If there is no such source or split, or its files are missing.
  """
  if data.source not in source_table.SOURCES:
    raise ValueError(
        f'config.data.source={data.source!r} is not one of'
        f' {", ".join(source_table.SOURCES)}. Change --config.data.source.'
    )
  module = importlib.import_module(f'{__name__}.{data.source}')
  return module.open_split(data, split)


def remarks(source: Source) -> Sequence[str]:
  """Sentences for the user about files that a source does not use."""
  return getattr(source, 'remarks', ())  # Only sources of files have some.


def may_differ_from_older(source: Source) -> bool:
  """Whether older versions may have read other examples from these files."""
  return getattr(source, 'may_differ_from_older', False)


def texts(source: Source) -> Callable[[int], str] | None:
  """A function from an index to a text; None if there are no texts."""
  if isinstance(source, Texts) and source.has_texts:
    return source.text
  return None


def check_classes(num_classes: int, train: Source, test: Source) -> str | None:
  """Checks that a stage-2 model has a class for every label of both splits.

  JAX would look up labels without a class in another row of the embedding
  table, without an error. A model may have more classes than the data.

  Args:
    num_classes: Classes of the model; 0 if it is not conditioned on labels.
    train: The training split of the data.
    test: The held-out split of the data.

  Returns:
    A warning that names classes of the model without training examples; None
    if there are no such classes.

  Raises:
    ValueError: If the data has more classes than the model.
  """
  if not num_classes:
    return None  # The model does not read labels.
  # Most sources count the classes of both splits together.
  counts = {'train': train.num_classes, 'test': test.num_classes}
  for split, count in counts.items():
    if count > num_classes:
      raise ValueError(
          f'config.model.num_classes={num_classes} is too small: the {split}'
          f' split of the data has {count} classes, and the model has no class'
          f' for the labels from {num_classes} on. Set'
          f' --config.model.num_classes={count}, or'
          ' choose other data with --config.data.path.'
      )
  if (count := train.num_classes) < num_classes:
    return (
        f'The model has {num_classes} classes, but the data has {count}: no'
        f' example trains the classes from {count} on.'
    )
  return None
