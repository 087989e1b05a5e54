"""All samples of a split, read one by one from its tar files."""

import dataclasses
import functools
import os
from typing import NamedTuple

import numpy as np

from rq_jax.data import file_names
from rq_jax.data import image_files
from rq_jax.data.tar_files import Tar
from rq_jax.data.tar_shards import classes
from rq_jax.data.tar_shards import finding
from rq_jax.data.tar_shards import table as table_lib
from rq_jax.data.tar_shards.table import Table
from rq_jax.distributed import progress

_SHOWN_AFTER_S = 2


class _Opened(NamedTuple):
  """Tar files of a split, and their tables."""

  tars: list[Tar]
  tables: list[Table]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
  """Samples of a split, by index.

  Attributes:
    root: Folder of the dataset.
    tars: Tar files of the split, in order.
    shards: Index of each sample's tar file, int32[N].
    table: The samples.
    num_classes: Number of classes in all splits; 0 if there are no labels.
    class_names: Names of the classes by label; None if unknown.
    notes: Sentences for the user about samples and files that are not used.
  """

  root: str
  tars: tuple[Tar, ...]
  shards: np.ndarray
  table: Table
  num_classes: int
  class_names: tuple[str, ...] | None
  notes: tuple[str, ...]

  def __len__(self) -> int:
    """Number of samples."""
    return len(self.shards)

  def image(self, index: int) -> bytes:
    """The content of an image file.

    Raises:
      image_files.BrokenImageError: If it cannot be read.
      ValueError: If the tar file has changed.
    """
    return self._read(index, self.table.images[index])

  def text(self, index: int) -> str:
    """The text of a sample.

    Raises:
      image_files.BrokenImageError: If it cannot be read or is not UTF-8.
      ValueError: If there is none, or the tar file has changed.
    """
    kind = self.table.kinds[index]
    if kind == table_lib.NO_TEXT:
      raise ValueError(f'{self.where(index)} has no text. Remove the sample.')
    content = self._read(index, self.table.texts[index])
    try:
      return table_lib.caption(content, kind)
    except UnicodeDecodeError as error:
      raise image_files.BrokenImageError(
          f'The text for {self.where(index)} is not UTF-8. Remove the sample,'
          ' or write its text again.'
      ) from error

  def name(self, index: int) -> str:
    """The name of an image, with its tar file, relative to the folder."""
    tar = self.tars[self.shards[index]]
    return os.path.relpath(f'{tar.path}/{self.table.names[index]}', self.root)

  def where(self, index: int) -> str:
    """The name of an image for messages, with the path of its tar file."""
    tar = self.tars[self.shards[index]]
    return file_names.shown(f'{tar.path}/{self.table.names[index]}')

  @functools.cached_property
  def has_texts(self) -> bool:
    """Whether every sample has a text."""
    return len(self) > 0 and bool(np.all(self.table.kinds))

  @property
  def num_bytes(self) -> int:
    """Bytes of all images."""
    return int(self.table.images[:, 1].sum())

  @property
  def listing(self) -> str:
    """SHA-256 of the names, sizes and labels of all samples."""
    table = self.table
    return table.names.listing(
        table.images[:, 1], table.texts[:, 1], table.labels
    )

  def _read(self, index: int, place: np.ndarray) -> bytes:
    offset, size = place.tolist()
    try:
      return self.tars[self.shards[index]].read(offset, size)
    except OSError as error:
      raise image_files.BrokenImageError(
          f'{self.where(index)} cannot be read: {error.strerror}. Repair the'
          ' disk, or copy the tar file again.'
      ) from error


def open_all(found: finding.Found) -> tuple[Samples, Samples]:
  """The samples of the training split and of the held-out split.

  Args:
    found: The tar files of both splits.

  Returns:
    Both splits; the second is empty if `found` has no held-out split.

  Raises:
    ValueError: If a tar file cannot be read, or only some samples have labels.
  """
  total = len(found.train) + len(found.held_out)
  with progress.bar(
      total=total, unit='file', desc='index', delay=_SHOWN_AFTER_S
  ) as bar:
    train = _open(found.train, bar)
    held_out = _open(found.held_out, bar)
  tables = [*train.tables, *held_out.tables]
  num_classes, names = classes.find(
      found.root, tables, [tar.path for tar in (*train.tars, *held_out.tars)]
  )
  join = functools.partial(
      _join, found=found, num_classes=num_classes, class_names=names
  )
  return join(train), join(held_out)


def take(samples: Samples, indices: np.ndarray) -> Samples:
  """Some of the samples, by their indices, int[n]."""
  table = samples.table
  return dataclasses.replace(
      samples,
      shards=samples.shards[indices],
      table=dataclasses.replace(
          table,
          names=table.names.take(indices),
          images=table.images[indices],
          texts=table.texts[indices],
          kinds=table.kinds[indices],
          labels=table.labels[indices],
      ),
  )


def _open(paths: list[str], bar) -> _Opened:
  opened = _Opened([Tar.at(path) for path in paths], [])
  for tar in opened.tars:
    opened.tables.append(table_lib.read(tar))
    bar.update()
  return opened


def _join(
    opened: _Opened,
    *,
    found: finding.Found,
    num_classes: int,
    class_names: tuple[str, ...] | None,
) -> Samples:
  tables = opened.tables
  counts = [len(table) for table in tables]
  return Samples(
      root=found.root,
      tars=tuple(opened.tars),
      shards=np.repeat(np.arange(len(tables), dtype=np.int32), counts),
      table=table_lib.join(tables),
      num_classes=num_classes,
      class_names=class_names,
      notes=tuple(_notes(opened, found.unused)),
  )


def _notes(opened: _Opened, unused: list[str]):
  """Yields sentences about what is not used."""
  names = [
      file_names.shown(f'{tar.path}/{table.imageless[i]}')
      for tar, table in zip(opened.tars, opened.tables)
      for i in range(len(table.imageless))
  ]
  if names:
    yield (
        f'{len(names)} samples have no image and are left out; the first is'
        f' {names[0]}.'
    )
  kinds = np.concatenate([[], *(table.kinds for table in opened.tables)])
  textless = int(np.sum(kinds == table_lib.NO_TEXT))
  if 0 < textless < len(kinds):
    yield (
        f'{textless} of {len(kinds)} samples have no text, so no texts are'
        ' used.'
    )
  if unused:
    folder = os.path.dirname(unused[0])
    yield (
        f'{len(unused)} tar files of a test split in {folder} are not used,'
        ' because there is a validation split.'
    )
