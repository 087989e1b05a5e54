"""Finds and opens the folder of a dataset in the format of TFDS."""

from typing import Any, NamedTuple

from etils import epath

from rq_jax import files

INFO = 'dataset_info.json'

# A dataset lies at NAME/VERSION or NAME/CONFIG/VERSION below a data folder.
_DEPTHS = 3
_SHOWN = 5


class Shard(NamedTuple):
  """One ArrayRecord file of a split, and its number of records."""

  path: epath.Path
  count: int


def find(path: epath.PathLike | None) -> epath.Path:
  """The folder of the only version of a dataset at or below `path`.

  Raises:
    ValueError: If there is no dataset, or more than one.
  """
  if path is None or not epath.Path(path).is_dir():
    raise ValueError(
        f'config.data.path={path and str(path)!r} is not a folder, but the'
        " source 'tfds' needs the folder of a prepared dataset. Change"
        ' --config.data.path.'
    )
  folder = epath.Path(path)
  found = find_all(folder)
  if len(found) == 1:
    return found[0]
  if found:
    shown = ', '.join(map(str, found[:_SHOWN]))
    more = f' and {len(found) - _SHOWN} more' if found[_SHOWN:] else ''
    raise ValueError(
        f'config.data.path={str(path)!r} contains {len(found)} datasets or'
        f' versions: {shown}{more}. Set --config.data.path to one of them.'
    )
  raise ValueError(_nothing(folder))


def find_all(folder: epath.Path) -> list[epath.Path]:
  """All datasets at or below a folder, at the first depth that has any."""
  pattern = INFO
  for _ in range(_DEPTHS + 1):
    if found := sorted(file.parent for file in folder.glob(pattern)):
      return found
    pattern = f'*/{pattern}'
  return []


def _nothing(folder: epath.Path) -> str:
  """The message for a folder without a dataset."""
  if (folder / 'job.json').exists():
    return (
        f'{folder} is unfinished: it has no {INFO}, because `python -m rq_jax'
        ' prepare` was interrupted or is still running. Run the same command'
        ' again.'
    )
  return (
      f'config.data.path={str(folder)!r} is not a prepared dataset: it has no'
      f' {INFO}. Prepare one with `python -m rq_jax prepare`, or, for a folder'
      ' of images, set --config.data.source=image_folder.'
  )


def open_builder(folder: epath.Path) -> Any:
  """Opens a dataset; returns the builder of TFDS, which only reads.

  Raises:
    ValueError: If the dataset is damaged, or not in ArrayRecord files.
  """
  info = files.read_json_object(folder / INFO)
  # Old datasets do not name their format; they are TFRecord files.
  formats = [info.get('fileFormat', 'tfrecord')]
  formats += info.get('alternativeFileFormats', [])
  if 'array_record' not in formats:
    raise ValueError(_other_format(folder, formats[0]))
  import tensorflow_datasets as tfds

  try:
    return tfds.builder_from_directory(folder)
  # Damaged descriptions raise errors of many types.
  except Exception as error:
    raise ValueError(
        f'{folder} cannot be opened as a dataset ({type(error).__name__}:'
        f' {error}). Restore its {INFO} and features.json, or prepare it again.'
    ) from error


def _other_format(folder: epath.Path, name: str) -> str:
  kind = {'tfrecord': 'TFRecord'}.get(name, name)
  return (
      f'{folder} holds {kind} files, which have no random access. Convert them'
      ' once, where TensorFlow is installed, with `tfds convert_format'
      f' --dataset_version_dir={folder} --out_file_format=array_record'
      f' --out_dir={folder}_array_record`, and set --config.data.path to that'
      ' folder.'
  )


def shards(builder: Any, split: str) -> list[Shard]:
  """The files of a split, in order.

  Raises:
    ValueError: If a file is missing.
  """
  info = builder.info.splits[split]
  found = [
      Shard(epath.Path(path), count)
      for path, count in zip(info.filepaths, info.shard_lengths, strict=True)
  ]
  missing = [str(s.path) for s in found if s.count and not s.path.exists()]
  if missing:
    raise ValueError(
        f'{len(missing)} of {len(found)} files of the split {split!r} are'
        f' missing, the first of them {missing[0]}. Copy or prepare the dataset'
        ' again.'
    )
  return found
