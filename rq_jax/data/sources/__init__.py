"""Where examples come from: random access to images, one dict per example.

Every source has a length and answers `source[i]` with

  image   uint8[h, w, 3]
  label   int32[]

and is cheap to copy into the loader's worker processes. `features.Features`
is the same for the cache that stage 2 reads.
"""

from typing import Any, Protocol

from rq_jax.data.sources import digits
from rq_jax.data.sources import features
from rq_jax.data.sources import image_folder

SOURCES = ('digits', 'image_folder', 'features')


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


def open_source(data_config: Any, split: str) -> Source:
  """The source that an experiment names.

  Args:
    data_config: Has the attributes `source` (one of `SOURCES`), `path`,
      `image_size` and `max_pixels`, as `config.data`.
    split: 'train' or 'test'.

  Raises:
    ValueError: If there is no such source or split, or its files are missing.
  """
  match data_config.source:
    case 'digits':
      return digits.Digits(split, data_config.image_size)
    case 'image_folder':
      return image_folder.ImageFolder(
          data_config.path, split, max_pixels=data_config.max_pixels
      )
    case 'features':
      return features.Features(data_config.path, split)
  raise ValueError(
      f'config.data.source is {data_config.source!r}; possible are'
      f' {", ".join(SOURCES)}; set --config.data.source to one of them'
  )


def check_classes(config: Any, train: Source) -> str | None:
  """Refuses labels that a stage-2 model has no class for, in either split.

  JAX would train another row of the table with them. A model may have more
  classes than the data.

  Args:
    config: A checked stage-2 experiment.
    train: The training split of its data.

  Returns:
    A sentence that names classes which no example trains, if there are any.

  Raises:
    ValueError: If the data have more classes than the model.
  """
  known = config.model.num_classes
  if not known:
    return None  # Labels are not read.
  counts = {'train': train.num_classes}
  if config.data.source == 'features':  # Other sources count them together.
    counts['test'] = open_source(config.data, 'test').num_classes
  for split, count in counts.items():
    if count > known:
      raise ValueError(
          f'config.model.num_classes={known}, but the {split} split of the data'
          f' has {count} classes: the model has no class for the labels from'
          f' {known} to {count - 1}. Set --config.model.num_classes={count}, or'
          ' choose other data with --config.data.path.'
      )
  if (count := train.num_classes) < known:
    return (
        f'The model has {known} classes and the data have {count}: no example'
        f' trains the classes from {count} to {known - 1}.'
    )
  return None
