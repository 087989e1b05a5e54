"""Writes the cache of features, see `features`."""

from collections.abc import Iterator
import contextlib
import errno
import io
import json
import math
import os
from typing import IO

import numpy as np

from rq_jax import files
from rq_jax.data.feature_cache import layout
from rq_jax.data.feature_cache.layout import Path

# What file systems answer that cannot reserve space.
_CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV)

_MISCOUNTED = (
    '{} examples were written to {}, which was opened for {}; announce the'
    ' length of the source and encode the split again'
)


class Writer:
  """Writes one shard of a split, batch by batch.

  ```python
  with writer.Writer(...) as writer:
    writer.write(features, labels)  # Of a batch; once for each.
    writer.close()
  ```

  The space of the whole shard is reserved when it is opened. Its files carry
  another name until `close`; leaving the `with` block without it removes them.

  Attributes:
    split: 'train' or 'test'.
    start: Index of the shard's first example in the split.
    stop: Index after its last.
  """

  def __init__(
      self,
      path: Path,
      *,
      split: str,
      num_examples: int,
      shape: tuple[int, int, int],
      num_classes: int,
      fingerprint: str,
      shard: int = 0,
      num_shards: int = 1,
  ):
    """Opens a shard; what an earlier job wrote of the split is void from here.

    Args:
      path: The cache, made where it is missing.
      split: 'train' or 'test'.
      num_examples: N, the length of the whole split.
      shape: (H, W, C) of the features.
      num_classes: Classes of the data; labels lie in [0, num_classes).
      fingerprint: Of the tokenizer that encodes.
      shard: Number of this shard, from 0.
      num_shards: S.

    Raises:
      ValueError: If the path is remote or there is no such shard.
      files.DiskFullError: If there is no room for the shard.
    """
    if not 0 <= shard < num_shards:
      raise ValueError(f'shard is {shard}; it must be in [0, {num_shards})')
    self.split = split
    self.start, self.stop = layout.bounds(num_examples, shard, num_shards)
    self._folder = layout.local(path) / split
    names = [layout.shard_names(s, num_shards) for s in range(num_shards)]
    self._meta = {
        'version': layout.FORMAT_VERSION,
        'fingerprint': fingerprint,
        'shape': list(shape),
        'dtype': 'float16',
        'num_examples': num_examples,
        'num_classes': num_classes,
        'split': split,
        'shards': [list(pair) for pair in names],
    }
    self._files = [self._folder / name for name in names[shard]]
    count = self.stop - self.start
    shapes = (np.float16, (count, *shape)), (np.int32, (count,))
    self._layouts = [
        (file, *_layout(*each)) for file, each in zip(self._files, shapes)
    ]
    self._needs = sum(len(header) + size for _, header, size in self._layouts)
    self._written = 0
    self._open: list[IO[bytes]] = []
    self._make_room(num_shards)
    self._reserve()

  def __enter__(self) -> 'Writer':
    """The writer itself."""
    return self

  def __exit__(self, *_) -> None:
    """Removes the files of a shard that was not closed."""
    self._discard()

  def write(self, features: np.ndarray, labels: np.ndarray) -> None:
    """Appends examples.

    Args:
      features: float[n, H, W, C].
      labels: int[n], each in [0, num_classes).

    Raises:
      ValueError: If there are too many, of another shape, not in float16's
        range, or of no class.
      files.DiskFullError: If the disk is full after all.
    """
    features, labels = np.asarray(features), np.asarray(labels)
    shape = self._meta['shape']
    if features.shape != (len(features), *shape) or labels.shape != (
        len(features),
    ):
      raise ValueError(
          f'features {list(features.shape)} and labels {list(labels.shape)} do'
          f' not fit a cache of features [n, *{shape}] and labels [n]; announce'
          ' the shape that the tokenizer has'
      )
    end, count = self._written + len(features), self.stop - self.start
    if end > count:
      raise ValueError(_MISCOUNTED.format(end, self._files[0], count))
    self._check_labels(labels)
    arrays = _half(features), labels.astype(np.int32)
    with self._naming_a_full_disk():
      for file, array in zip(self._open, arrays, strict=True):
        file.write(array.tobytes())
    self._written = end

  def close(self) -> None:
    """Gives the files of a complete shard their names; finishes an only one.

    Raises:
      ValueError: If fewer examples were written than announced.
      files.DiskFullError: If the disk is full after all.
    """
    count = self.stop - self.start
    if self._written != count:
      raise ValueError(_MISCOUNTED.format(self._written, self._files[0], count))
    with self._naming_a_full_disk():
      for file in self._open:
        file.flush()
        os.fsync(file.fileno())
        file.close()
    for file in self._files:
      os.replace(layout.partial(file), file)
    self._open = []
    if len(self._meta['shards']) == 1:
      self.finish()

  def finish(self) -> None:
    """Declares the split complete; for one process, after all have closed.

    Raises:
      ValueError: If a shard is missing or has another size.
      files.DiskFullError: If there is no room for `meta.json`.
    """
    layout.open_shards(self._folder, self._meta)
    text = json.dumps(self._meta, indent=2) + '\n'
    with files.whole(self._folder / layout.META, needs=len(text)) as file:
      file.write(text.encode())

  def _make_room(self, num_shards: int) -> None:
    """Removes what earlier jobs left of the split; no reader may use it now."""
    self._folder.mkdir(parents=True, exist_ok=True)
    meta = self._folder / layout.META
    void = [meta, *self._folder.glob(f'{meta.name}.*{files.PARTIAL}')]
    void += layout.shards_of_others(self._folder, num_shards)
    for file in self._files:
      void += [file, layout.partial(file)]
    for file in void:
      file.unlink(missing_ok=True)

  def _reserve(self) -> None:
    """Opens both files, with all the space they will take, and begins them."""
    with self._naming_a_full_disk():
      for file, header, size in self._layouts:
        self._open.append(layout.partial(file).open('wb'))
        if not _allocate(self._open[-1], len(header) + size):
          files.require_space(self._folder, self._needs)
        self._open[-1].write(header)

  @contextlib.contextmanager
  def _naming_a_full_disk(self) -> Iterator[None]:
    """Says what the whole shard needs, once what was written is removed."""
    with files.naming_a_full_disk(self._folder, needs=self._needs):
      try:
        yield
      except BaseException:
        self._discard()
        raise

  def _discard(self) -> None:
    """Removes the files of a shard that is not whole."""
    for file in self._open:
      with contextlib.suppress(OSError):  # What it still holds is not wanted.
        file.close()
    if self._open:
      for file in self._files:
        layout.partial(file).unlink(missing_ok=True)
    self._open = []

  def _check_labels(self, labels: np.ndarray) -> None:
    limit = self._meta['num_classes']
    if not np.issubdtype(labels.dtype, np.integer):
      raise ValueError(
          f'labels are {labels.dtype}; a cache holds the numbers of classes, as'
          ' integers; convert them'
      )
    wrong = labels[(labels < 0) | (labels >= limit)]
    if len(wrong):
      raise ValueError(
          f'a label is {wrong[0]}, but the cache was opened for {limit}'
          ' classes, numbered from 0; announce the number that the source has'
      )


def _layout(dtype: type, shape: tuple[int, ...]) -> tuple[bytes, int]:
  """The header of an array's file, and how many bytes follow it."""
  header = io.BytesIO()
  fields = {
      'descr': np.lib.format.dtype_to_descr(np.dtype(dtype)),
      'fortran_order': False,
      'shape': shape,
  }
  np.lib.format.write_array_header_1_0(header, fields)
  return header.getvalue(), np.dtype(dtype).itemsize * math.prod(shape)


def _allocate(file: IO[bytes], size: int) -> bool:
  """Takes the space of a whole file now; returns whether that is possible.

  Raises:
    OSError: If there is not so much.
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
  """Features in 16 bit, or a reason why not."""
  with np.errstate(over='ignore'):
    half = features.astype(np.float16)
  if not np.isfinite(half).all():
    raise ValueError(
        f'a feature has the size {np.abs(features).max():.3g}, which overflows'
        ' to inf in float16; a cache holds finite values up to 65504; use an'
        ' earlier checkpoint of the tokenizer, or another one'
    )
  return half
