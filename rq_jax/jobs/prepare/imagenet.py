"""ImageNet (ILSVRC2012) from the official archives, which are not unpacked.

  SRC/ILSVRC2012_img_train.tar       one tar file of JPEGs per class
  SRC/ILSVRC2012_img_val.tar         ILSVRC2012_val_00000001.JPEG and so on
  SRC/ILSVRC2012_devkit_t12.tar.gz   class names, labels of validation images

22 of the JPEG files are CMYK, and n02105855_2933.JPEG is a PNG file. Their
bytes are kept, as in PyTorch's ImageNet, and readers convert them to RGB.
"""

import os
import re

import numpy as np

from rq_jax.data import tar_index
from rq_jax.jobs.prepare import devkit as devkit_lib
from rq_jax.jobs.prepare import origins

TRAIN = 'ILSVRC2012_img_train.tar'
VALIDATION = 'ILSVRC2012_img_val.tar'

_VALIDATION_NAME = re.compile(r'(?:.*/)?ILSVRC2012_val_(\d{8})\.JPEG')


class _Images:
  """The images of one archive, in their order; see `origins.Origin`."""

  has_texts = False

  def __init__(
      self,
      index: tar_index.Index,
      labels: np.ndarray,
      class_names: tuple[str, ...],
  ):
    self._index, self._labels = index, labels
    self.class_names: tuple[str, ...] | None = class_names
    self.num_classes = len(class_names)
    self.num_bytes = int(index.sizes.sum())

  def __len__(self) -> int:
    """Number of images."""
    return len(self._index)

  def __getitem__(self, index: int) -> origins.Raw:
    """Reads one image; several threads may do so."""
    return origins.Raw(
        content=self._index.read(index),
        # The inner tar file of a class becomes a folder.
        name=self._index.names[index].replace('.tar/', '/', 1),
        label=int(self._labels[index]),
    )

  @property
  def listing(self) -> str:
    """SHA-256 of all names, sizes and labels."""
    return self._index.names.listing(self._index.sizes, self._labels)


def open_splits(
    src: str, devkit: str | None = None
) -> dict[str, origins.Origin]:
  """Opens both splits, 'train' and 'validation'.

  The first call reads the headers of 1.3 million files, which takes minutes.

  Args:
    src: Folder of the archives.
    devkit: The development kit; None if it lies in `src`.

  Raises:
    ValueError: If a file is missing, or does not fit the others.
  """
  paths = {name: os.path.join(src, name) for name in (TRAIN, VALIDATION)}
  missing = [name for name, path in paths.items() if not os.path.isfile(path)]
  if missing:
    raise ValueError(
        f'--src={src} lacks {" and ".join(missing)}, but --from=imagenet needs'
        ' the folder of the archives from image-net.org. Change --src, or, for'
        ' a folder of images, use --from=folder.'
    )
  kit = devkit_lib.read(_find_devkit(src) if devkit is None else devkit)
  train = tar_index.scan(paths[TRAIN], nested=True)
  validation = tar_index.scan(paths[VALIDATION])
  return {
      'train': _Images(train, _train_labels(train, kit), kit.class_names),
      'validation': _Images(
          validation, _labels(validation, kit), kit.class_names
      ),
  }


def _find_devkit(src: str) -> str:
  path = os.path.join(src, devkit_lib.NAME)
  return path if os.path.isdir(path) else f'{path}.tar.gz'


def _train_labels(index: tar_index.Index, kit: devkit_lib.Devkit) -> np.ndarray:
  """Labels of the training images, from names like n01440764.tar/x.JPEG."""
  by_wnid = {wnid: label for label, wnid in enumerate(kit.wnids)}
  labels = np.empty(len(index), np.int32)
  for row, name in enumerate(index.names):
    wnid = name.partition('.tar/')[0]
    if wnid not in by_wnid:
      raise _unfitting(index, name, 'belongs to no class of the devkit')
    labels[row] = by_wnid[wnid]
  return labels


def _labels(index: tar_index.Index, kit: devkit_lib.Devkit) -> np.ndarray:
  """Labels of the validation images, from the numbers in their names."""
  labels = np.empty(len(index), np.int32)
  for row, name in enumerate(index.names):
    match = _VALIDATION_NAME.fullmatch(name)
    number = int(match[1]) if match else 0
    if not 1 <= number <= len(kit.validation):
      raise _unfitting(index, name, 'has no label in the devkit')
    labels[row] = kit.validation[number - 1]
  if len(index) != len(kit.validation):
    raise ValueError(
        f'{index.tar.path} has {len(index)} images, but the devkit has'
        f' {len(kit.validation)} labels. Download both again.'
    )
  return labels


def _unfitting(index: tar_index.Index, name: str, why: str) -> ValueError:
  return ValueError(
      f'{index.tar.path} contains {name}, which {why}. Download the archive'
      ' from image-net.org again, or set --devkit to the kit of ILSVRC2012.'
  )
