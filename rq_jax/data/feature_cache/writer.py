"""Writes the shards of a cache of features; see `layout`."""

from collections.abc import Iterator
import contextlib
import errno
import os
from typing import IO

import numpy as np

from rq_jax import files
from rq_jax.data.feature_cache import layout

# Error numbers of file systems that cannot reserve space.
_CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV)

_MISCOUNTED = (
    '{} examples were written to {}, which was opened for {}. Set num_examples'
    ' to the length of the source, and encode the split again.'
)


class Writer:
  """Writes one shard of a split, batch by batch.

  ```python
  with writer.Writer(split, shard) as writer:
    writer.write(features, labels)  # Call this once per batch.
    writer.close()
  ```

  Creating the writer reserves the space of the whole shard. The files of the
  shard have temporary names until `close`; leaving the `with` block without
  `close` removes them. Files are kept open only from the first batch on, so
  thousands of writers can exist at a time.
  """

  def __init__(self, split: layout.Split, shard: int = 0):
    """Reserves the space of a shard, and removes an older version of it.

    Args:
      split: The split that the shard belongs to.
      shard: Number of the shard, from 0.

    Raises:
      ValueError: If there is no such shard.
      files.DiskFullError: If there is no room for the shard.
    """
    if not 0 <= shard < split.num_shards:
      raise ValueError(
          f'shard={shard} must be in [0, {split.num_shards}). Change shard or'
          ' num_shards.'
      )
    self._split = split
    self._count = len(split.rows(shard))
    self._files = split.files(shard)
    self._needs = split.bytes_of(shard)
    self._written = 0
    self._open: list[IO[bytes]] = []
    self._make_room()
    self._reserve()

  def __enter__(self) -> 'Writer':
    """The writer itself."""
    return self

  def __exit__(self, *_) -> None:
    """Removes the files of the shard if it was not closed."""
    self._discard()

  def write(self, features: np.ndarray, labels: np.ndarray) -> None:
    """Appends examples.

    Args:
      features: float[n, H, W, C].
      labels: int[n], each in [0, num_classes).

    Raises:
      ValueError: If there are too many examples, shapes are wrong, values
        exceed the range of float16, or labels are not classes.
      files.DiskFullError: If the disk becomes full.
    """
    features, labels = np.asarray(features), np.asarray(labels)
    shape = self._split.shape
    if features.shape != (len(features), *shape) or labels.shape != (
        len(features),
    ):
      raise ValueError(
          f'Features {list(features.shape)} and labels {list(labels.shape)} do'
          f' not fit a cache of features [n, *{list(shape)}] and labels [n].'
          " Set the shape of the split to that of the tokenizer's features."
      )
    end = self._written + len(features)
    if end > self._count:
      raise self._miscounted(end)
    self._check_labels(labels)
    arrays = _half(features), labels.astype(np.int32)
    with self._naming_a_full_disk():
      for file, array in zip(self._opened(), arrays, strict=True):
        file.write(array.tobytes())
    self._written = end

  def close(self) -> None:
    """Gives the files of a complete shard their final names.

    Raises:
      ValueError: If fewer examples were written than the shard should hold.
      files.DiskFullError: If the disk becomes full.
    """
    if self._written != self._count:
      raise self._miscounted(self._written)
    with self._naming_a_full_disk():
      for file in self._opened():
        file.flush()
        os.fsync(file.fileno())
        file.close()
    self._open = []
    for file in self._files:
      os.replace(layout.partial(file.path), file.path)

  def _miscounted(self, count: int) -> ValueError:
    return ValueError(
        _MISCOUNTED.format(count, self._files[0].path, self._count)
    )

  def _make_room(self) -> None:
    """Removes an older version of the shard, and marks the split unfinished."""
    self._split.folder.mkdir(parents=True, exist_ok=True)
    (self._split.folder / layout.META).unlink(missing_ok=True)
    for file in self._files:
      file.path.unlink(missing_ok=True)
      layout.partial(file.path).unlink(missing_ok=True)

  def _reserve(self) -> None:
    """Creates both files, and reserves all the space that they will need."""
    with self._naming_a_full_disk():
      for file in self._files:
        with layout.partial(file.path).open('wb') as begun:
          if not _allocate(begun, file.size):
            files.require_space(self._split.folder, self._needs)
          begun.write(file.header)

  def _opened(self) -> list[IO[bytes]]:
    """Both files, open for writing behind their headers."""
    if not self._open:
      for file in self._files:
        self._open.append(layout.partial(file.path).open('r+b'))
        self._open[-1].seek(len(file.header))
    return self._open

  @contextlib.contextmanager
  def _naming_a_full_disk(self) -> Iterator[None]:
    """On a full disk, removes the shard and reports the space that it needs."""
    with files.naming_a_full_disk(self._split.folder, needs=self._needs):
      try:
        yield
      except BaseException:
        self._discard()
        raise

  def _discard(self) -> None:
    """Removes the files of an incomplete shard."""
    for file in self._open:
      with contextlib.suppress(OSError):  # Buffered data is not needed.
        file.close()
    self._open = []
    for file in self._files:
      layout.partial(file.path).unlink(missing_ok=True)

  def _check_labels(self, labels: np.ndarray) -> None:
    limit = self._split.num_classes
    if not np.issubdtype(labels.dtype, np.integer):
      raise ValueError(
          f'The labels are {labels.dtype}, but a cache holds the numbers of'
          ' classes, as integers. Convert them.'
      )
    wrong = labels[(labels < 0) | (labels >= limit)]
    if len(wrong):
      raise ValueError(
          f'A label is {wrong[0]}, but the cache was opened for {limit}'
          ' classes, numbered from 0. Set num_classes to the number of classes'
          ' of the source.'
      )


def _allocate(file: IO[bytes], size: int) -> bool:
  """Reserves the space of a whole file; returns whether that is possible.

  Raises:
    OSError: If there is not enough space.
  """
  if not hasattr(os, 'posix_fallocate'):  # On macOS.
    return False
  try:
    os.posix_fallocate(file.fileno(), 0, size)
  except OSError as error:
    if error.errno not in _CANNOT_RESERVE:
      raise
    return False
  return True


def _half(features: np.ndarray) -> np.ndarray:
  """Converts features to float16; raises a ValueError if values overflow."""
  with np.errstate(over='ignore'):
    half = features.astype(np.float16)
  if not np.isfinite(half).all():
    raise ValueError(
        f'A feature has the magnitude {np.abs(features).max():.3g}, which is'
        ' not finite in float16, but a cache holds finite values up to 65504.'
        ' Use an earlier checkpoint of the tokenizer, or another tokenizer.'
    )
  return half
