"""Datasets in the format of TensorFlow Datasets (TFDS), in ArrayRecord files.

`python -m rq_jax prepare` writes this format, and TFDS writes it with
`file_format='array_record'`. TensorFlow is not needed to read it.
"""

import bisect
import hashlib
import json
from typing import Any

from etils import epath
import numpy as np

from rq_jax import files
from rq_jax.config import sections
from rq_jax.data import file_names
from rq_jax.data import image_files
from rq_jax.data.prepared import folder as folder_lib
from rq_jax.data.prepared import manifest
from rq_jax.data.sources import splits

# Names of the features that are used if several have the right type.
_IMAGE, _LABEL = 'image', 'label'
_FILE_NAMES = ('file_name', 'filename')
# Other texts, such as names of files or of people, are not captions.
_TEXTS = ('text', 'caption')

# Splits that may be held out, the best first. The split 'test' of TFDS's
# imagenet2012 has no labels, so 'validation' comes before it.
_HELD_OUT = ('validation', 'test')


class Prepared:
  """Random access to a split of a dataset that TFDS can open.

  Images come from the only feature of type `Image`, labels from the only
  `ClassLabel`, and texts from the `Text` named 'text' or 'caption'. If several
  features have the type, the one named 'image' or 'label' is used. If the
  dataset has neither a split 'validation' nor 'test', every fifth example of
  'train' is held out.

  Attributes:
    num_classes: Number of classes; 1 if the images have no classes.
    class_names: Names of the classes by label; None if they are unknown.
    has_texts: Whether the examples have texts.
    listing: SHA-256 of the description of the dataset and of this split. For a
      dataset that `prepare` wrote, it includes the hashes of the shards.
  """

  def __init__(
      self,
      path: epath.PathLike | None,
      split: str = 'train',
      *,
      reader: image_files.Reader | None = None,
  ):
    """Opens a split, without reading any example.

    Args:
      path: Folder of the dataset's version, which contains dataset_info.json,
        or a folder above it that contains only this one.
      split: 'train' or 'test'.
      reader: Decodes the images; None for a reader with default settings.

    Raises:
      ValueError: If there is no such split or dataset, if its shards are not
        ArrayRecord files or are missing, or if it has no images.
    """
    splits.check(split)
    folder = folder_lib.find(path)
    self._opened = (str(folder), split, reader)
    self._reader = reader or image_files.Reader()
    builder = folder_lib.open_builder(folder)
    features = dict(builder.info.features.items())
    image = _choose(features, 'Image', _IMAGE, folder)
    if image is None:
      names = ', '.join(sorted(features))
      raise ValueError(
          f'{folder} has no images: its features are {names}, and'
          ' none is of the type Image. Set --config.data.path to another'
          ' dataset.'
      )
    self._image = image
    self._label = _choose(features, 'ClassLabel', _LABEL, folder)
    self._text = next((n for n in _TEXTS if _is(features, n, 'Text')), None)
    self._file_name = next(
        (n for n in _FILE_NAMES if _is(features, n, 'Text')), None
    )
    self.has_texts = self._text is not None
    self.num_classes, self.class_names = _classes(features, self._label)
    name, self._rows = _rows(builder.info.splits, split, folder)
    self._shards = folder_lib.shards(builder, name)
    self._ends = np.cumsum([shard.count for shard in self._shards]).tolist()
    self.listing = _listing(folder, split, name)
    self._records = _records(builder, name)

  def __reduce__(self):
    """Lets worker processes open the files again instead of copying them."""
    folder, split, reader = self._opened
    return _reopen, (type(self), folder, split, reader)

  def __len__(self) -> int:
    """Number of examples in the split."""
    return len(self._rows)

  def __getitem__(self, index: int) -> dict[str, Any]:
    """'image', uint8[h, w, 3], and 'label', int32[].

    Raises:
      BrokenImageError: If the record or its image is damaged; the message names
        the shard and the record in it.
    """
    example = self._read(index)
    content, name = example[self._image], self._name(index, example)
    label = 0 if self._label is None else example[self._label]
    image = self._reader.decode(content, name)
    return {'image': image, 'label': np.int32(label)}

  def content(self, index: int) -> bytes:
    """The content of an image file, not decoded; raises like indexing."""
    return self._read(index)[self._image]

  def name(self, index: int) -> str:
    """The shard and the record of an example, and the name of its file.

    Raises:
      BrokenImageError: If the record is damaged.
    """
    return self._name(index, self._read(index))

  def text(self, index: int) -> str:
    """The text of an example.

    Raises:
      BrokenImageError: If the record is damaged.
      ValueError: If the examples have no texts.
    """
    if self._text is None:
      raise ValueError(
          f'{self._opened[0]} has no texts: none of its features is of the type'
          f' Text and named {" or ".join(_TEXTS)}. Set --config.data.path to'
          ' another dataset.'
      )
    return _text(self._read(index)[self._text])

  def _read(self, index: int) -> dict[str, Any]:
    if not 0 <= index < len(self):
      raise IndexError(
          f'Example {index} is out of range: there are {len(self)} examples.'
      )
    try:
      return self._records[int(self._rows[index])]
    # Damaged files raise errors of several types.
    except Exception as error:
      raise image_files.BrokenImageError(
          f'{self._place(index)} cannot be read ({type(error).__name__}:'
          f' {error}). Copy the file again, or prepare the dataset again.'
      ) from error

  def _name(self, index: int, example: dict[str, Any]) -> str:
    place = self._place(index)
    if self._file_name is None:
      return place
    return file_names.shown(f'{place} ({_text(example[self._file_name])})')

  def _place(self, index: int) -> str:
    """The shard of an example, and its record there, for errors."""
    row = int(self._rows[index])
    number = bisect.bisect_right(self._ends, row)
    shard = self._shards[number]
    return f'{shard.path}, record {row - (self._ends[number] - shard.count)}'


def open_split(data: sections.Data, split: str) -> Prepared:
  """Opens a split for an experiment, given its section `data`.

  Raises:
    ValueError: Also if the files differ from those that `prepare` wrote.
  """
  manifest.check(folder_lib.find(data.path))
  return Prepared(data.path, split, reader=image_files.reader(data))


def _reopen(kind, folder, split, reader):
  return kind(folder, split, reader=reader)


def _is(features: Any, name: str, kind: str) -> bool:
  """Whether there is a feature of this name and type."""
  from tensorflow_datasets import features as types

  return type(features.get(name)) is getattr(types, kind)


def _choose(
    features: Any, kind: str, preferred: str, folder: epath.Path
) -> str | None:
  """The name of the feature of a type; None if there is none."""
  found = sorted(name for name in features if _is(features, name, kind))
  if preferred in found:
    return preferred
  if len(found) > 1:
    raise ValueError(
        f'{folder} has several features of the type {kind}: {", ".join(found)}.'
        f' None of them is named {preferred!r}, so it is unclear which one to'
        ' use. Prepare a dataset with one of them.'
    )
  return found[0] if found else None


def _classes(
    features: Any, label: str | None
) -> tuple[int, tuple[str, ...] | None]:
  """The number of classes, and their names if they are known."""
  if label is None:
    return 1, None
  count, names = features[label].num_classes, tuple(features[label].names)
  # TFDS numbers the classes if it does not know their names.
  return count, None if names == tuple(map(str, range(count))) else names


def _rows(
    found: Any, split: str, folder: epath.Path
) -> tuple[str, range | np.ndarray]:
  """The split of TFDS that has the examples, and their indices in it."""
  there = {name: info.num_examples for name, info in found.items()}
  if not there.get('train'):
    raise ValueError(
        f"{folder} has no split 'train', only {', '.join(there) or 'none'}."
        ' Set --config.data.path to another dataset.'
    )
  held_out = next((name for name in _HELD_OUT if there.get(name)), None)
  if held_out is None:
    return 'train', splits.members(there['train'], split)
  name = held_out if split == 'test' else 'train'
  return name, range(there[name])


def _records(builder: Any, split: str) -> Any:
  """Random access to the features of a split; images are not decoded."""
  import tensorflow_datasets as tfds

  features = dict(builder.info.features.items())
  images = (name for name in features if _is(features, name, 'Image'))
  return builder.as_data_source(
      split, decoders={name: tfds.decode.SkipDecoding() for name in images}
  )


def _listing(folder: epath.Path, split: str, name: str) -> str:
  listed: list[Any] = [split, name]
  # `prepare` writes a manifest, which has the hashes of the shards.
  for file in (folder_lib.INFO, 'features.json', manifest.NAME):
    if (folder / file).exists():
      listed.append(files.read_json(folder / file))
  text = json.dumps(listed, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def _text(value: bytes | str) -> str:
  return value.decode(errors='replace') if isinstance(value, bytes) else value
