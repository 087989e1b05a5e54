"""The development kit of ImageNet: class names and labels of validation images.

It is `ILSVRC2012_devkit_t12.tar.gz`, or the folder that it unpacks to.
"""

import dataclasses
import io
import os
import pathlib
import tarfile
from typing import Any

import numpy as np

NAME = 'ILSVRC2012_devkit_t12'

_META = 'data/meta.mat'
_TRUTH = 'data/ILSVRC2012_validation_ground_truth.txt'
_LARGEST = 2**24  # Bytes; the files have less than 1 MB.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Devkit:
  """The contents of the development kit that are used.

  Attributes:
    wnids: WordNet identifiers of the classes by label. Labels number the sorted
      identifiers, as in PyTorch and TFDS.
    class_names: Names of the classes by label: the first name in WordNet,
      followed by the identifier if another class has the same name.
    validation: Labels of the validation images, int32[50000].
  """

  wnids: tuple[str, ...]
  class_names: tuple[str, ...]
  validation: np.ndarray


def read(path: str) -> Devkit:
  """Reads the development kit.

  Args:
    path: The archive or the folder.

  Raises:
    ValueError: If it is missing, incomplete or damaged.
  """
  meta, truth = _contents(path)
  try:
    words = _classes(meta)
    wnids = tuple(sorted(wnid for wnid, _ in words.values()))
    label = {wnid: index for index, wnid in enumerate(wnids)}
    labels = [label[words[int(line)][0]] for line in truth.split()]
  # Files that are something else raise errors of many types.
  except Exception as error:
    raise ValueError(
        f'--devkit={path} is damaged: {_META} and {_TRUTH} do not fit together'
        f' ({type(error).__name__}: {error}). Download it again.'
    ) from error
  by_wnid = dict(words.values())
  return Devkit(
      wnids=wnids,
      class_names=_unique_names([by_wnid[wnid] for wnid in wnids], wnids),
      validation=np.array(labels, np.int32),
  )


def _contents(path: str) -> tuple[bytes, bytes]:
  """The two files that are needed."""
  if os.path.isdir(path):
    folder = pathlib.Path(path)
    missing = [n for n in (_META, _TRUTH) if not (folder / n).is_file()]
    if missing:
      raise _incomplete(path, missing[0])
    return (folder / _META).read_bytes(), (folder / _TRUTH).read_bytes()
  if not os.path.isfile(path):
    raise ValueError(
        f'--devkit={path} does not exist. Download {NAME}.tar.gz from'
        ' image-net.org, and set --devkit to it.'
    )
  found = {}
  try:
    with tarfile.open(path) as archive:
      for member in archive:
        inside = member.name.partition('/')[2]
        if inside in (_META, _TRUTH) and member.size <= _LARGEST:
          file = archive.extractfile(member)
          found[inside] = file.read() if file else b''
  except (tarfile.TarError, OSError, EOFError) as error:
    raise ValueError(
        f'--devkit={path} is not a whole tar archive ({error}). Download it'
        ' again.'
    ) from error
  for name in (_META, _TRUTH):
    if name not in found:
      raise _incomplete(path, name)
  return found[_META], found[_TRUTH]


def _incomplete(path: str, name: str) -> ValueError:
  return ValueError(
      f'--devkit={path} has no {name}, so it is not {NAME}. Set --devkit to'
      ' that archive or its folder.'
  )


def _classes(meta: bytes) -> dict[int, tuple[str, str]]:
  """Identifier and words of the classes, by the number of the challenge."""
  import scipy.io

  synsets: Any = scipy.io.loadmat(io.BytesIO(meta), squeeze_me=True)['synsets']
  # Synsets with children are groups of classes.
  return {
      int(synset['ILSVRC2012_ID']): (str(synset['WNID']), str(synset['words']))
      for synset in np.atleast_1d(synsets)
      if int(synset['num_children']) == 0
  }


def _unique_names(words: list[str], wnids: tuple[str, ...]) -> tuple[str, ...]:
  first = [text.partition(',')[0].strip() for text in words]
  lower = [name.lower() for name in first]
  return tuple(
      name if lower.count(name.lower()) == 1 else f'{name} {wnid}'
      for name, wnid in zip(first, wnids, strict=True)
  )
