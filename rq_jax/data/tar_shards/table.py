"""The samples of one tar file, found once and stored beside it."""

from collections.abc import Iterator, Sequence
import dataclasses
import json
import re
from typing import Any

import numpy as np

from rq_jax.data import file_names
from rq_jax.data import tar_files
from rq_jax.data import tar_index
from rq_jax.data.tar_files import Tar

# Endings of images. If a sample has several, the first of these is read.
IMAGES = ('jpg', 'jpeg', 'png', 'webp')
# Fields of a sample's JSON object; the first one that exists is read.
_LABELS = ('label', 'cls')
_CAPTIONS = ('caption', 'text')
# Kinds of texts.
NO_TEXT, PLAIN, JSON = range(3)

# Arrays of no samples.
_PLACES = np.zeros((0, 2), np.int64)
_KINDS = np.zeros(0, np.int8)
_LABEL = np.zeros(0, np.int32)

_KIND = 'samples'  # See `tar_files.store`.
# As in webdataset: folder and name up to the first dot, and all endings.
_PARTS = re.compile(r'((?:.*/|)[^.]+)[.]([^/]*)', re.DOTALL)
_META = re.compile(r'__[^/]*__($|/)')


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Table:
  """The samples of a tar file that have an image, in order.

  Attributes:
    names: Names of the images in the tar file.
    images: Offset and size of each image in the tar file, int64[N, 2].
    texts: Offset and size of the file with each text, int64[N, 2].
    kinds: Kind of that file, int8[N]: `NO_TEXT`, `PLAIN` or `JSON`.
    labels: Index of each class, int32[N]; -1 if a sample has none.
    imageless: Keys of the samples without an image.
  """

  names: file_names.Packed
  images: np.ndarray
  texts: np.ndarray
  kinds: np.ndarray
  labels: np.ndarray
  imageless: file_names.Packed

  def __len__(self) -> int:
    """Number of samples."""
    return len(self.labels)


def read(tar: Tar) -> Table:
  """Finds the samples of a tar file, or reads its stored table.

  Raises:
    ValueError: If the tar file cannot be read, the files of a sample do not
      follow each other, or a label is not a whole number.
  """
  fields = tar_files.stored(tar, _KIND)
  if fields is None:
    fields = _find(tar)
    tar_files.store(tar, _KIND, fields)
  return Table(
      names=file_names.restored(fields, 'names'),
      images=fields['images'],
      texts=fields['texts'],
      kinds=fields['kinds'],
      labels=fields['labels'],
      imageless=file_names.restored(fields, 'imageless'),
  )


def join(tables: Sequence[Table]) -> Table:
  """The samples of several tar files as one table."""
  return Table(
      names=file_names.join([table.names for table in tables]),
      images=np.concatenate([_PLACES, *(table.images for table in tables)]),
      texts=np.concatenate([_PLACES, *(table.texts for table in tables)]),
      kinds=np.concatenate([_KINDS, *(table.kinds for table in tables)]),
      labels=np.concatenate([_LABEL, *(table.labels for table in tables)]),
      imageless=file_names.join([table.imageless for table in tables]),
  )


def caption(content: bytes, kind: int) -> str:
  """The text in a file of a sample.

  Args:
    content: Content of the file.
    kind: `PLAIN` or `JSON`.

  Raises:
    ValueError: If the content is not UTF-8.
  """
  if kind == JSON:
    return next(_values(_parsed(content), _CAPTIONS, str))
  return content.decode().strip()


def _find(tar: Tar) -> dict[str, np.ndarray]:
  index = tar_index.scan(tar.path, keep=False)
  places = np.stack([index.offsets, index.sizes], axis=1)  # [M, 2]
  chosen, texts, kinds, labels, imageless = [], [], [], [], []
  for key, members in _group(index):
    image = next((members[e] for e in IMAGES if e in members), None)
    if image is None:
      imageless.append(key)
      continue
    about = _about(index, members)
    text, kind = _find_text(members, about)
    chosen.append(image)
    texts.append(image if text is None else text)
    kinds.append(kind)
    labels.append(_find_label(index, key, members, about))
  indices = np.array(chosen, np.int64)
  return {
      **index.names.take(indices).arrays('names'),
      'images': places[indices],
      'texts': places[np.array(texts, np.int64)],
      'kinds': np.array(kinds, np.int8),
      'labels': np.array(labels, np.int32),
      **file_names.pack(imageless).arrays('imageless'),
  }


def _group(index: tar_index.Index) -> Iterator[tuple[str, dict[str, int]]]:
  """Yields the key of each sample, and its files' indices by their endings."""
  seen, key, members = set(), None, {}
  for i, name in enumerate(index.names):
    parts = _PARTS.fullmatch(name)
    if parts is None or _META.match(name):
      continue  # Hidden, without an ending, or about the whole dataset.
    if parts[1] != key:
      if key is not None:
        yield key, members
      key, members = parts[1], {}
      if key in seen:
        raise ValueError(
            f'The files of the sample {file_names.shown(key)} do not follow'
            f' each other in {index.tar.path}. Pack them again in the order of'
            ' their names, for example with tar --sort=name.'
        )
      seen.add(key)
    ending = parts[2].lower()
    if ending in members:
      raise ValueError(
          f'{index.tar.path} contains two files'
          f' {file_names.shown(parts[1])}.{ending}. Remove one.'
      )
    members[ending] = i
  if key is not None:
    yield key, members


def _about(index: tar_index.Index, members: dict[str, int]) -> dict[str, Any]:
  """The sample's JSON object; {} if other files hold its label and text."""
  if 'json' not in members or {'cls', 'txt'} <= members.keys():
    return {}
  return _parsed(index.read(members['json']))


def _parsed(content: bytes) -> dict[str, Any]:
  try:
    about = json.loads(content)
  except ValueError:
    return {}
  return about if isinstance(about, dict) else {}


def _values(
    about: dict[str, Any], names: tuple[str, ...], *kinds: type
) -> Iterator[Any]:
  """Yields the values of some fields that have one of some types."""
  found = (about.get(name) for name in names)
  return (value for value in found if isinstance(value, kinds))


def _find_text(
    members: dict[str, int], about: dict[str, Any]
) -> tuple[int | None, int]:
  """Index of the file with the text, and its kind."""
  if 'txt' in members:
    return members['txt'], PLAIN
  if next(_values(about, _CAPTIONS, str), None) is not None:
    return members['json'], JSON
  return None, NO_TEXT


def _find_label(
    index: tar_index.Index,
    key: str,
    members: dict[str, int],
    about: dict[str, Any],
) -> int:
  """The label of a sample; -1 if it has none."""
  if 'cls' in members:
    content = index.read(members['cls']).decode(errors='replace').strip()
  else:
    content = next(_values(about, _LABELS, int, str, float), None)
  if content is None:
    return -1
  digits = str(content)
  if not digits.isdecimal() or int(digits) >= 2**31:
    where = 'cls' if 'cls' in members else 'json'
    raise ValueError(
        f'{index.tar.path}/{file_names.shown(key)}.{where} has the label'
        f' {content!r}, but labels must be whole numbers from 0. Number the'
        ' classes, and pack the samples again.'
    )
  return int(digits)
