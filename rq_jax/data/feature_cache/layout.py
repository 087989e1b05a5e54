"""The files of a feature cache: how they are named, described and checked.

  path/train/meta.json                         written last
  path/train/features-00000-of-00002.npy       float16[n, H, W, C]
  path/train/label-00000-of-00002.npy          int32[n]

`meta.json` holds the version of this format, the fingerprint of the tokenizer,
the shape and number of the features, the number of classes and the names of
the shards. Shard s of S holds the examples N * s // S up to N * (s + 1) // S of
the split, in order.
"""

import os
import pathlib
import re
from typing import Any, TypeAlias

import numpy as np

from rq_jax import files

Path: TypeAlias = str | os.PathLike[str]

FORMAT_VERSION = 1

META = 'meta.json'
COMMAND = '`python -m rq_jax encode`'

# Caches written before classes were counted lack 'num_classes'.
_REQUIRED = ('fingerprint', 'shape', 'num_examples', 'shards')
_SHARD = re.compile(r'(features|label)-\d{5,}-of-(\d{5,})\.npy(\.partial)?')


def local(path: Path) -> pathlib.Path:
  """The folder of a cache.

  Raises:
    ValueError: If it is remote.
  """
  if not files.is_local(path):
    raise ValueError(
        f'the feature cache is {path}; it is memory-mapped and needs a local'
        ' or mounted folder; copy it there and set --config.data.path to it'
    )
  return pathlib.Path(path)


def partial(file: pathlib.Path) -> pathlib.Path:
  """The name of a file while it is being written."""
  return file.with_name(file.name + files.PARTIAL)


def bounds(num_examples: int, shard: int, num_shards: int) -> tuple[int, int]:
  """The first example of a shard, and the one after its last."""
  start, stop = num_examples * shard, num_examples * (shard + 1)
  return start // num_shards, stop // num_shards


def shard_names(shard: int, num_shards: int) -> tuple[str, str]:
  """Names of the two files of a shard: features and labels."""
  suffix = f'{shard:05d}-of-{num_shards:05d}.npy'
  return f'features-{suffix}', f'label-{suffix}'


def shards_of_others(
    folder: pathlib.Path, num_shards: int
) -> list[pathlib.Path]:
  """Shards in a folder, whole or not, of jobs with another number of them."""
  found = [(file, _SHARD.fullmatch(file.name)) for file in folder.iterdir()]
  return [file for file, name in found if name and int(name[2]) != num_shards]


def read_meta(
    path: Path | None, split: str
) -> tuple[pathlib.Path, dict[str, Any]]:
  """The folder of a split, and what its `meta.json` says.

  Raises:
    ValueError: If the split is missing, unfinished or of another version, or
      the file is damaged.
  """
  advice = f'write it with {COMMAND} and set --config.data.path'
  folder = None if path is None else local(path) / split
  if folder is None or not folder.is_dir():
    raise ValueError(
        f'config.data.path is {str(path)!r}, which has no folder {split!r};'
        f" source 'features' needs a cache of features; {advice}"
    )
  if not (folder / META).exists():
    raise ValueError(
        f'{folder} is unfinished: it has no {META}, because encoding was'
        f' interrupted or still runs; {advice}'
    )
  meta = files.read_json(folder / META)
  if not isinstance(meta, dict) or 'version' not in meta:
    raise ValueError(
        f'{folder / META} is damaged: it names no format version; {advice}'
    )
  if meta['version'] != FORMAT_VERSION:
    raise ValueError(
        f'{folder} has format version {meta["version"]}, but this code reads'
        f' version {FORMAT_VERSION}; {advice}'
    )
  if missing := [name for name in _REQUIRED if name not in meta]:
    raise ValueError(
        f'{folder / META} is damaged: it lacks {", ".join(missing)}; {advice}'
    )
  return folder, meta


def open_shards(
    folder: pathlib.Path, meta: dict[str, Any]
) -> list[tuple[np.ndarray, np.ndarray]]:
  """(features, labels) of each shard, memory-mapped.

  Raises:
    ValueError: If a file is missing, damaged or not what `meta` announces.
  """
  total, names = meta['num_examples'], meta['shards']
  shards = []
  for shard, (features, label) in enumerate(names):
    start, stop = bounds(total, shard, len(names))
    layout = (stop - start, *meta['shape'])
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
    found = 'nothing'
  except (EOFError, ValueError, OSError):
    found = f'a broken file of {file.stat().st_size} bytes'
  raise ValueError(
      f'{file} holds {found}, but its cache announces'
      f' {np.dtype(dtype)}{list(shape)}; encode again with {COMMAND}'
  )
