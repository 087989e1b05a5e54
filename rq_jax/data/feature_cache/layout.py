"""The files of a feature cache: their names, their format and their checks.

  path/train/meta.json                         written last
  path/train/features-00000-of-00002.npy       float16[n, H, W, C]
  path/train/label-00000-of-00002.npy          int32[n]

`meta.json` holds the version of this format, the fingerprint of the tokenizer,
the shape and number of the features, the number of classes and the names of
the shards. Shard s of S holds the examples from N * s // S up to, but not
including, N * (s + 1) // S of the split, in order. S follows from the size of
the split, so the files do not depend on how many processes wrote them.
"""

from collections.abc import Collection
import dataclasses
import json
import math
import os
import pathlib
import re
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from rq_jax import files

Path: TypeAlias = str | os.PathLike[str]

FORMAT_VERSION = 1

META = 'meta.json'
COMMAND = '`python -m rq_jax encode`'

SHARD_BYTES = 2**30  # About the size of a shard.

# Caches written before classes were counted lack 'num_classes'.
_REQUIRED = ('fingerprint', 'shape', 'num_examples', 'shards')
# Matches all files that jobs leave in the folder of a split, whole or partial.
_OWN = re.compile(
    r'(features|label)-\d{5,}-of-\d{5,}\.npy(\.partial)?'
    r'|meta\.json(\.\w+\.partial)?'
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


class ShardFile(NamedTuple):
  """One of the two files of a shard: its path, header, and size in bytes."""

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

  def __post_init__(self):
    local(self.path)

  @property
  def folder(self) -> pathlib.Path:
    """The folder of all files of the split."""
    return local(self.path) / self.name

  def rows(self, shard: int) -> range:
    """The indices of the examples in a shard."""
    return _rows(self.num_examples, shard, self.num_shards)

  def files(self, shard: int) -> tuple[ShardFile, ShardFile]:
    """The two files of a shard: features and labels."""
    count = len(self.rows(shard))
    features, label = self._names(shard)
    return (
        _shard_file(self.folder / features, np.float16, (count, *self.shape)),
        _shard_file(self.folder / label, np.int32, (count,)),
    )

  def bytes_of(self, shard: int) -> int:
    """The size of a shard on disk, in bytes."""
    return sum(file.size for file in self.files(shard))

  def finished(self) -> set[int]:
    """The shards that are completely on disk."""

    def is_there(file: ShardFile) -> bool:
      return file.path.is_file() and file.path.stat().st_size == file.size

    shards = range(self.num_shards)
    return {s for s in shards if all(map(is_there, self.files(s)))}

  def clear(self, keep: Collection[int] = ()) -> None:
    """Removes the files of earlier jobs; nothing may read the split meanwhile.

    Args:
      keep: Shards whose files stay.
    """
    kept = {name for shard in keep for name in self._names(shard)}
    for file in self.folder.iterdir() if self.folder.exists() else ():
      if _OWN.fullmatch(file.name) and file.name not in kept:
        file.unlink(missing_ok=True)

  def finish(self) -> None:
    """Marks the split as complete by writing `meta.json`.

    Call this in one process, after all processes have written their shards.

    Raises:
      ValueError: If a shard is missing or has another size.
      files.DiskFullError: If there is no room for `meta.json`.
    """
    meta = {
        'version': FORMAT_VERSION,
        'fingerprint': self.fingerprint,
        'shape': list(self.shape),
        'dtype': 'float16',
        'num_examples': self.num_examples,
        'num_classes': self.num_classes,
        'split': self.name,
        'shards': [list(self._names(s)) for s in range(self.num_shards)],
    }
    open_shards(self.folder, meta)
    text = json.dumps(meta, indent=2) + '\n'
    with files.whole(self.folder / META, needs=len(text)) as file:
      file.write(text.encode())

  def _names(self, shard: int) -> tuple[str, str]:
    suffix = f'{shard:05d}-of-{self.num_shards:05d}.npy'
    return f'features-{suffix}', f'label-{suffix}'


def count_shards(num_examples: int, shape: tuple[int, int, int]) -> int:
  """Number of shards of about `SHARD_BYTES` that hold a split; at least one."""
  size = num_examples * math.prod(shape) * np.dtype(np.float16).itemsize
  return max(1, round(size / SHARD_BYTES))


def _shard_file(
    path: pathlib.Path, dtype: type, shape: tuple[int, ...]
) -> ShardFile:
  """Describes the file that `np.save` would write."""
  header = files.npy_header(dtype, shape)
  size = np.dtype(dtype).itemsize * math.prod(shape)
  return ShardFile(path, header, len(header) + size)


def _rows(num_examples: int, shard: int, num_shards: int) -> range:
  start, stop = num_examples * shard, num_examples * (shard + 1)
  return range(start // num_shards, stop // num_shards)


def read_meta(
    path: Path | None, split: str
) -> tuple[pathlib.Path, dict[str, Any]]:
  """Reads the `meta.json` of a split; returns its folder and the contents.

  Raises:
    ValueError: If the split is missing, unfinished or of another format
      version, or if `meta.json` is damaged.
  """
  advice = f'Write the cache with {COMMAND} and set --config.data.path to it.'
  folder = None if path is None else local(path) / split
  if folder is None or not folder.is_dir():
    raise ValueError(
        f'config.data.path={str(path)!r} has no folder {split!r}, but the'
        f" source 'features' needs a cache of features. {advice}"
    )
  if not (folder / META).exists():
    raise ValueError(
        f'{folder} is unfinished: it has no {META}, because encoding was'
        f' interrupted or is still running. {advice}'
    )
  meta = files.read_json(folder / META)
  if not isinstance(meta, dict) or 'version' not in meta:
    raise ValueError(
        f'{folder / META} is damaged: it has no format version. {advice}'
    )
  if meta['version'] != FORMAT_VERSION:
    raise ValueError(
        f'{folder} has format version {meta["version"]}, but this code reads'
        f' version {FORMAT_VERSION}. {advice}'
    )
  if missing := [name for name in _REQUIRED if name not in meta]:
    raise ValueError(
        f'{folder / META} is damaged: it lacks {", ".join(missing)}. {advice}'
    )
  return folder, meta


def open_shards(
    folder: pathlib.Path, meta: dict[str, Any]
) -> list[tuple[np.ndarray, np.ndarray]]:
  """Memory-maps the arrays of all shards: one pair (features, labels) each.

  Raises:
    ValueError: If a file is missing, damaged, or does not have the type and
      shape that `meta` describes.
  """
  total, names = meta['num_examples'], meta['shards']
  shards = []
  for shard, (features, label) in enumerate(names):
    layout = (len(_rows(total, shard, len(names))), *meta['shape'])
    array = _open(folder / features, np.float16, layout)
    shards.append((array, _open(folder / label, np.int32, layout[:1])))
  return shards


def _open(file: pathlib.Path, dtype: type, shape: tuple[int, ...]) -> Any:
  try:
    array = np.load(file, mmap_mode='r')
    if (array.dtype, array.shape) == (np.dtype(dtype), shape):
      return array
    found = f'{array.dtype}{list(array.shape)}'
  except FileNotFoundError:
    found = 'nothing (it is missing)'
  except (EOFError, ValueError, OSError):
    found = f'{file.stat().st_size} bytes that are not a valid array'
  raise ValueError(
      f'{file} holds {found}, but should hold'
      f' {np.dtype(dtype)}{list(shape)}. Encode again with {COMMAND}.'
  )
