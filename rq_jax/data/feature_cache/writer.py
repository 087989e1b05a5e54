"""Writes the shards of a cache of features; see `layout`."""

from collections.abc import Iterator, Sequence
import contextlib

import numpy as np

from rq_jax import files
from rq_jax.data.feature_cache import array_file
from rq_jax.data.feature_cache import checksums
from rq_jax.data.feature_cache import layout
from rq_jax.data.feature_cache import records
from rq_jax.data.feature_cache import rounding

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

  Creating the writer reserves the space of all arrays but the texts. Texts are
  small; they stay in memory until `close`. The files of the shard have
  temporary names until then, and leaving the `with` block without `close`
  removes them. Files are kept open only from the first batch on, so thousands
  of writers can exist at a time.
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
    self._split, self._shard = split, shard
    self._count = len(split.rows(shard))
    self._files = [array_file.ArrayFile(file) for file in split.files(shard)]
    self._needs = split.bytes_of(shard)
    self._errors: list[rounding.Error] = []  # One per example.
    self._texts: list[bytes] = []
    self._make_room()
    self._reserve()

  def __enter__(self) -> 'Writer':
    """The writer itself."""
    return self

  def __exit__(self, *_) -> None:
    """Removes the files of the shard if it was not closed."""
    self._discard()

  @property
  def is_full(self) -> bool:
    """Whether all examples of the shard are written."""
    return len(self._errors) == self._count

  def write(
      self,
      features: np.ndarray,
      labels: np.ndarray,
      texts: Sequence[str] | None = None,
  ) -> None:
    """Appends examples.

    Args:
      features: float[n, V, H, W, C].
      labels: int[n], each in [0, num_classes).
      texts: The n texts; None if the split has no texts.

    Raises:
      ValueError: If there are too many examples, shapes are wrong, values
        exceed the range of float16, or labels are not classes.
      files.DiskFullError: If the disk becomes full.
    """
    features, labels = np.asarray(features), np.asarray(labels)
    self._check_shapes(features, labels)
    assert (texts is not None) == self._split.has_texts
    end = len(self._errors) + len(features)
    if end > self._count:
      raise self._miscounted(end)
    self._check_labels(labels)
    rounded, errors = rounding.half(features)
    with self._naming_a_full_disk():
      for file, array in zip(
          self._files,
          (rounded, labels.astype(np.int32), checksums.of_views(rounded)),
          strict=True,
      ):
        file.append(array.tobytes())
    self._errors += errors
    # Texts from JSON may hold half of a surrogate pair.
    self._texts += [t.encode(errors='surrogatepass') for t in texts or ()]

  def close(self) -> None:
    """Gives the files of a complete shard their final names.

    Raises:
      ValueError: If fewer examples were written than the shard should hold.
      files.DiskFullError: If the disk becomes full.
    """
    if not self.is_full:
      raise self._miscounted(len(self._errors))
    with self._naming_a_full_disk():
      if self._split.has_texts:
        self._append_texts()
      stored = {file.name: file.close() for file in self._files}
    for file in self._files:
      file.publish()
    error = rounding.total(self._errors)
    records.write_shard(self._split, self._shard, stored, error)

  def _append_texts(self) -> None:
    """Adds the files of the texts."""
    lengths = [len(text) for text in self._texts]
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    described = self._split.text_files(self._shard, int(offsets[-1]))
    contents = b''.join(self._texts), offsets.tobytes()
    for file, content in zip(described, contents, strict=True):
      self._needs += file.size
      self._files.append(array_file.ArrayFile(file))
      self._files[-1].reserve()
      self._files[-1].append(content)

  def _miscounted(self, count: int) -> ValueError:
    path = self._split.folder / self._files[0].name
    return ValueError(_MISCOUNTED.format(count, path, self._count))

  def _make_room(self) -> None:
    """Removes an older version of the shard, and marks the split unfinished."""
    self._split.folder.mkdir(parents=True, exist_ok=True)
    (self._split.folder / layout.META).unlink(missing_ok=True)
    self._split.record(self._shard).unlink(missing_ok=True)
    for file in self._files:
      file.clear()

  def _reserve(self) -> None:
    """Creates the files, and reserves all the space that they will need."""
    with self._naming_a_full_disk():
      for file in self._files:
        if not file.reserve():
          files.require_space(self._split.folder, self._needs)

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
    for file in self._files:
      file.discard()

  def _check_shapes(self, features: np.ndarray, labels: np.ndarray) -> None:
    shape, count = self._split.row_shape, len(features)
    if features.shape != (count, *shape) or labels.shape != (count,):
      raise ValueError(
          f'Features {list(features.shape)} and labels {list(labels.shape)} do'
          f' not fit a cache of features [n, *{list(shape)}] and labels [n].'
          " Set the shape of the split to that of the tokenizer's features."
      )

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
