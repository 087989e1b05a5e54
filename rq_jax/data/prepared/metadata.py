"""Writes the descriptions that make a folder of shards a dataset."""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

from rq_jax import files
from rq_jax.data.prepared import shards

VERSION = '1.0.0'  # TFDS requires one.

# TFDS makes the names of `shards.Split.file` from this.
_TEMPLATE = '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}'


def names(folder: pathlib.Path) -> list[str]:
  """Names of the files that `write` has written."""
  return ['features.json', *(f.name for f in folder.glob('*.labels.txt'))]


def write(
    folder: pathlib.Path,
    name: str,
    features: Any,
    written: Mapping[str, Sequence[shards.Written]],
) -> dict[str, Any]:
  """Writes features.json and the names of the classes.

  Args:
    folder: Folder of the dataset.
    name: Name of the dataset, as in the names of its files.
    features: Its features; see `records.features`.
    written: What the shards of each split hold, in order.

  Returns:
    The contents of dataset_info.json. Write it last: with it, the dataset is
    complete.
  """
  with files.naming_a_full_disk(folder):
    features.save_config(str(folder))
  return {
      'fileFormat': 'array_record',
      'moduleName': 'rq_jax',
      'name': name,
      'splits': [
          {
              'filepathTemplate': _TEMPLATE,
              'name': split,
              # JSON has no 64-bit numbers, so protocol buffers use text.
              'numBytes': str(sum(w.content_bytes for w in found)),
              'shardLengths': [str(w.examples) for w in found],
          }
          for split, found in written.items()
      ],
      'version': VERSION,
  }
