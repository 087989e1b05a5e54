"""The files of a feature cache: their names, shapes and sizes.

  path/train/meta.json                          written last
  path/train/shard-00000-of-00002.json          written after its arrays
  path/train/features-00000-of-00002.npy        float16[n, V, H, W, C]
  path/train/label-00000-of-00002.npy           int32[n]
  path/train/checksum-00000-of-00002.npy        uint32[n, V]
  path/train/text-00000-of-00002.npy            uint8[b], only with texts
  path/train/text_offsets-00000-of-00002.npy    int64[n + 1], only with texts

V is the number of views (crops) of each image. The checksum of a view is the
CRC-32 of its features; earlier caches of version 2 have no checksums. Text i of
a shard is the UTF-8 bytes from text_offsets[i] up to, but not including,
text_offsets[i + 1]. `records` describes the JSON files.

Shard s of S holds the examples from N * s // S up to, but not including,
N * (s + 1) // S of the split, in order. S follows from the size of the split,
so the files do not depend on how many processes wrote them.

Version 1 of this format had neither views, texts nor records of shards: its
features are float16[n, H, W, C]. `reader` opens both versions.
"""

from collections.abc import Collection
import dataclasses
import math
import os
import pathlib
import re
from typing import NamedTuple, TypeAlias

import numpy as np

from rq_jax import files

Path: TypeAlias = str | os.PathLike[str]

FORMAT_VERSION = 2

META = 'meta.json'
COMMAND = '`python -m rq_jax encode`'
# Kinds of arrays.
KINDS = ('features', 'label', 'checksum', 'text', 'text_offsets')

SHARD_BYTES = 2**30  # About the size of a shard.

# Matches all files that jobs leave in the folder of a split, whole or partial.
_OWN = re.compile(
    r'(features|label|checksum|text|text_offsets)-\d{5,}-of-\d{5,}\.npy(\.partial)?'
    r'|(shard-\d{5,}-of-\d{5,}|meta)\.json(\.\w+\.partial)?'
)


def local(path: Path) -> pathlib.Path:
  """The local folder of a cache.

  Raises:
    ValueError: If the path is remote.
  """
  if not files.is_local(path):
    raise ValueError(
        f'The feature cache {path} is remote, but it is memory-mapped and needs'
        ' a local or mounted folder. Copy it there and set --config.data.path'
        ' to the copy.'
    )
  return pathlib.Path(path)


def partial(file: pathlib.Path) -> pathlib.Path:
  """The name of a file while it is being written."""
  return file.with_name(file.name + files.PARTIAL)


class ArrayFile(NamedTuple):
  """A file of an array: its path, header, and size in bytes."""

  path: pathlib.Path
  header: bytes
  size: int  # Bytes, including the header.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
  """The contents of a split of a cache, and the files that hold them.

  Attributes:
    path: Folder of the cache.
    name: Name of the split, 'train' or 'test'.
    num_examples: Number of examples in the split, N.
    shape: Shape of the features of one example, (H, W, C).
    num_classes: Number of classes of the data; labels lie in [0, num_classes).
    fingerprint: Fingerprint of the tokenizer that encodes.
    num_shards: Number of shards, S; see `count_shards`.
    views: Number of views of each image, V.
    class_names: Names of the classes by label; None if they are unknown.
    has_texts: Whether each example has a text.

  Raises:
    ValueError: If the path is remote.
  """

  path: Path
  name: str
  num_examples: int
  shape: tuple[int, int, int]
  num_classes: int
  fingerprint: str
  num_shards: int = 1
  views: int = 1
  class_names: tuple[str, ...] | None = None
  has_texts: bool = False

  def __post_init__(self):
    local(self.path)

  @property
  def folder(self) -> pathlib.Path:
    """The folder of all files of the split."""
    return local(self.path) / self.name

  def rows(self, shard: int) -> range:
    """The indices of the examples in a shard."""
    return rows(self.num_examples, shard, self.num_shards)

  def files(self, shard: int) -> tuple[ArrayFile, ArrayFile, ArrayFile]:
    """The files of known sizes: features, labels and checksums."""
    count = len(self.rows(shard))
    return (
        self._file('features', shard, np.float16, (count, *self.row_shape)),
        self._file('label', shard, np.int32, (count,)),
        self._file('checksum', shard, np.uint32, (count, self.views)),
    )

  def text_files(
      self, shard: int, num_bytes: int
  ) -> tuple[ArrayFile, ArrayFile]:
    """The files of a shard's texts: their bytes, and the offsets of each."""
    count = len(self.rows(shard))
    return (
        self._file('text', shard, np.uint8, (num_bytes,)),
        self._file('text_offsets', shard, np.int64, (count + 1,)),
    )

  def record(self, shard: int) -> pathlib.Path:
    """The JSON file that is written when a shard is complete."""
    return self.folder / record_name(shard, self.num_shards)

  @property
  def row_shape(self) -> tuple[int, ...]:
    """The shape of the features of one example with all views, (V, H, W, C)."""
    return (self.views, *self.shape)

  def bytes_of(self, shard: int) -> int:
    """The size of a shard on disk in bytes, without its texts and record."""
    return sum(file.size for file in self.files(shard))

  def clear(self, keep: Collection[int] = ()) -> None:
    """Removes the files of earlier jobs; nothing may read the split meanwhile.

    Args:
      keep: Shards whose files stay.
    """
    kept = {name for shard in keep for name in self._names(shard)}
    for file in self.folder.iterdir() if self.folder.exists() else ():
      if _OWN.fullmatch(file.name) and file.name not in kept:
        file.unlink(missing_ok=True)

  def array_names(self, shard: int) -> list[str]:
    """The names of the files of a shard that hold arrays."""
    return [
        array_name(kind, shard, self.num_shards)
        for kind in KINDS
        if self.has_texts or not kind.startswith('text')
    ]

  def _names(self, shard: int) -> list[str]:
    arrays = [array_name(kind, shard, self.num_shards) for kind in KINDS]
    return [*arrays, record_name(shard, self.num_shards)]

  def _file(
      self, kind: str, shard: int, dtype: type, shape: tuple[int, ...]
  ) -> ArrayFile:
    """Describes the file that `np.save` would write."""
    header = files.npy_header(dtype, shape)
    size = np.dtype(dtype).itemsize * math.prod(shape)
    path = self.folder / array_name(kind, shard, self.num_shards)
    return ArrayFile(path, header, len(header) + size)


def array_name(kind: str, shard: int, num_shards: int) -> str:
  """The name of a file of a shard; `kind` is one of `KINDS`."""
  return f'{kind}-{shard:05d}-of-{num_shards:05d}.npy'


def record_name(shard: int, num_shards: int) -> str:
  """The name of the JSON file that describes a complete shard."""
  return f'shard-{shard:05d}-of-{num_shards:05d}.json'


def count_shards(
    num_examples: int, shape: tuple[int, int, int], views: int = 1
) -> int:
  """Number of shards of about `SHARD_BYTES` that hold a split; at least one."""
  numbers = num_examples * views * math.prod(shape)
  return max(1, round(numbers * np.dtype(np.float16).itemsize / SHARD_BYTES))


def rows(num_examples: int, shard: int, num_shards: int) -> range:
  """The indices of the examples in a shard of a split."""
  start, stop = num_examples * shard, num_examples * (shard + 1)
  return range(start // num_shards, stop // num_shards)
