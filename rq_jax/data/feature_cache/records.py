"""The JSON files of a cache: a record of each shard, and `meta.json`.

The record of a shard is written when its arrays are complete. It holds the
size and the hash of each file, and the error of rounding to float16:

  {"files": {"features-00000-of-00002.npy": {"bytes": .., "hash": ..}, ..},
   "rounding": {"largest": .., "sum_of_squares": .., "count": ..},
   "hash": ..}

`meta.json` is written when all shards are complete. It holds

  version        of the format; 1 has neither views, texts nor hashes
  fingerprint    of the tokenizer
  shape          of the features of one view, (H, W, C); dtype is float16
  views          number of views of each image
  num_examples   in the split
  num_classes    labels lie in [0, num_classes)
  class_names    by label; null if they are unknown
  texts          whether each example has a text
  rounding       largest difference between a feature and its float16, and that
                 difference divided by the root mean square of the features
  shards         hashes of the records of all shards, in order
  hash           of all of the above

`hashes` describes the hashes. Together they detect damage anywhere.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any, NamedTuple

from rq_jax import files
from rq_jax import hashes
from rq_jax.data.feature_cache import layout
from rq_jax.data.feature_cache import rounding

# Caches written before classes were counted lack 'num_classes'.
_REQUIRED = ('fingerprint', 'shape', 'num_examples', 'shards')
# What caches of version 1 hold.
_VERSION_1 = {'views': 1, 'class_names': None, 'texts': False}


class Stored(NamedTuple):
  """Size and hash of a complete file."""

  bytes: int
  hash: str


def write_shard(
    split: layout.Split,
    shard: int,
    stored: Mapping[str, Stored],
    error: rounding.Error,
) -> None:
  """Writes the record of a shard, which makes the shard complete.

  Args:
    split: The split.
    shard: Number of the shard.
    stored: Size and hash of each file of the shard, by name.
    error: Error of rounding the features of the shard.

  Raises:
    files.DiskFullError: If there is no room for the record.
  """
  record = {
      'files': {name: file._asdict() for name, file in stored.items()},
      'rounding': dataclasses.asdict(error),
  }
  files.write_json(split.record(shard), hashes.seal(record))


def read_shard(file: pathlib.Path) -> dict[str, Any]:
  """Reads the record of a shard.

  Raises:
    ValueError: If it is missing or damaged.
  """
  if not file.is_file():
    raise ValueError(f'{file} is missing. Encode again with {layout.COMMAND}.')
  return hashes.unsealed(files.read_json_object(file), file)


def finished(split: layout.Split) -> set[int]:
  """The shards that are completely on disk, by the sizes of their files."""

  def is_finished(shard: int) -> bool:
    return bool(stored := stored_of(split, shard)) and all(
        (split.folder / name).is_file()
        and (split.folder / name).stat().st_size == file.bytes
        for name, file in stored.items()
    )

  return set(filter(is_finished, range(split.num_shards)))


def stored_of(split: layout.Split, shard: int) -> dict[str, Stored]:
  """Size and hash of the files of a shard; none if its record is no use."""
  try:
    found = read_shard(split.record(shard))['files']
    stored = {name: Stored(**file) for name, file in found.items()}
  # Missing, damaged, or cut off by a power failure.
  except (ValueError, KeyError, TypeError, AttributeError):
    return {}
  # Not the record of another shard.
  return stored if stored.keys() <= {*split.array_names(shard)} else {}


def remove_damaged(split: layout.Split) -> list[str]:
  """Removes the records of shards whose files do not have their hashes.

  Such shards then count as unfinished. Call it in one process. It reads all
  finished shards, in threads.

  Returns:
    The names of the damaged files.
  """
  recorded = [  # The shard, name and hash of each file.
      (shard, name, file.hash)
      for shard in sorted(finished(split))
      for name, file in stored_of(split, shard).items()
  ]
  found = hashes.of_files([split.folder / name for _, name, _ in recorded])
  wrong = [
      (shard, name)
      for (shard, name, hash), now in zip(recorded, found)
      if now != hash
  ]
  for shard in {shard for shard, _ in wrong}:
    split.record(shard).unlink()
  return [name for _, name in wrong]


def finish(split: layout.Split) -> None:
  """Marks a split as complete by writing `meta.json`.

  Call this in one process, after all processes have written their shards.

  Raises:
    ValueError: If a shard is missing.
    files.DiskFullError: If there is no room for `meta.json`.
  """
  if missing := set(range(split.num_shards)) - finished(split):
    raise ValueError(
        f'{split.folder} lacks the shards {sorted(missing)} of'
        f' {split.num_shards}. Encode again with {layout.COMMAND}.'
    )
  paths = [split.record(shard) for shard in range(split.num_shards)]
  error = rounding.total(
      rounding.Error(**read_shard(path)['rounding']) for path in paths
  )
  meta = {
      'version': layout.FORMAT_VERSION,
      'fingerprint': split.fingerprint,
      'shape': split.shape,
      'dtype': 'float16',
      'views': split.views,
      'num_examples': split.num_examples,
      'num_classes': split.num_classes,
      'class_names': split.class_names,
      'texts': split.has_texts,
      'split': split.name,
      'rounding': {'largest': error.largest, 'relative': error.relative},
      'shards': [hashes.of_file(path) for path in paths],
  }
  files.write_json(split.folder / layout.META, hashes.seal(meta))


def read_meta(
    path: layout.Path | None, split: str
) -> tuple[pathlib.Path, dict[str, Any]]:
  """Reads the `meta.json` of a split; returns its folder and the contents.

  Fields that version 1 lacks have the values of that version.

  Raises:
    ValueError: If the split is missing, unfinished or of a newer format
      version, or if `meta.json` is damaged.
  """
  advice = (
      f'Write the cache with {layout.COMMAND} and set --config.data.path to it.'
  )
  folder = None if path is None else layout.local(path) / split
  if folder is None or not folder.is_dir():
    raise ValueError(
        f'config.data.path={path and str(path)!r} has no folder {split!r}, but'
        f" the source 'features' needs a cache of features. {advice}"
    )
  file = folder / layout.META
  if not file.exists():
    raise ValueError(
        f'{folder} is unfinished: it has no {layout.META}, because encoding was'
        f' interrupted or is still running. {advice}'
    )
  meta = files.read_json(file)
  if not isinstance(meta, dict) or 'version' not in meta:
    raise ValueError(f'{file} is damaged: it has no format version. {advice}')
  if (version := meta['version']) not in (1, layout.FORMAT_VERSION):
    raise ValueError(
        f'{folder} has format version {version}, but this code reads the'
        f' versions 1 to {layout.FORMAT_VERSION}. {advice}'
    )
  if missing := [name for name in _REQUIRED if name not in meta]:
    raise ValueError(
        f'{file} is damaged: it lacks {", ".join(missing)}. {advice}'
    )
  if version == 1:
    return folder, _VERSION_1 | meta
  if not hashes.is_sealed(meta):
    raise ValueError(f'{file} is damaged: it holds no hash. {advice}')
  return folder, hashes.unsealed(meta, file)
