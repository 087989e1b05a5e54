"""Datasets in tar files, read in place: images, labels and texts.

A folder holds tar files as webdataset and img2dataset write them. Their headers
are read once, and the result is stored beside each tar file. After that, every
sample is read at its position, in any order.
"""

from typing import Any

from etils import epath
import numpy as np

from rq_jax.config import sections
from rq_jax.data import image_files
from rq_jax.data.sources import splits
from rq_jax.data.tar_shards import finding
from rq_jax.data.tar_shards import samples


class WebDataset:
  """The samples of a split.

  The files of a sample share a key, their name up to the first dot. A sample
  has an image (`.jpg`, `.jpeg`, `.png` or `.webp`), and may have a label
  (`.cls`, or the field `label` or `cls` in `.json`) and a text (`.txt`, or the
  field `caption` or `text` in `.json`). Samples without an image are left out.

  The path of a tar file decides its split; see `finding.find`. If there are no
  splits, every fifth sample is in the test split.

  Attributes:
    num_classes: Number of classes: the length of `class_names`, or else the
      largest label of both splits + 1; 1 if there are no labels. All labels are
      0 then.
    class_names: Names of the classes by label, from `classes.json` or
      `classes.txt` in the folder; None if there is no such file.
    has_texts: Whether every sample of the split has a text.
    remarks: Sentences for the user about samples that are not used.
    listing: SHA-256 of the names, sizes and labels of the split.
  """

  def __init__(
      self,
      path: epath.PathLike | None,
      split: str = 'train',
      *,
      reader: image_files.Reader | None = None,
  ):
    """Finds the samples of a split.

    Args:
      path: The folder; it must be local or mounted.
      split: 'train' or 'test'.
      reader: Reads the images; None for a reader with default settings.

    Raises:
      ValueError: If there is no such split or folder, a tar file cannot be
        read, only some samples have labels, or the split is empty.
    """
    splits.check(split)
    if path is None:
      raise ValueError(
          "The source 'webdataset' needs the folder of the tar files. Set"
          ' --config.data.path.'
      )
    found = finding.find(path)
    train, held_out = samples.open_all(found)
    if found.held_out:
      chosen = held_out if split == 'test' else train
    else:
      chosen = samples.take(train, splits.members(len(train), split))
    if not len(chosen):
      raise ValueError(
          f'config.data.path={str(path)!r} has no sample with an image in the'
          f' {split} split. It needs jpg, jpeg, png or webp files in its tar'
          ' files, and at least 5 samples unless the names of the tar files'
          ' contain a split. Change --config.data.path.'
      )
    self._samples = chosen
    self._labels = np.maximum(chosen.table.labels, 0)
    self.remarks = tuple(dict.fromkeys((*train.notes, *held_out.notes)))
    self._reader = reader or image_files.Reader()
    self.num_classes = chosen.num_classes or 1
    self.class_names = chosen.class_names
    self.has_texts = chosen.has_texts
    self.listing = chosen.listing

  def __len__(self) -> int:
    """Number of samples in the split."""
    return len(self._samples)

  def __getitem__(self, index: int) -> dict[str, Any]:
    """'image', uint8[h, w, 3], and 'label', int32[].

    Raises:
      image_files.BrokenImageError: If the image cannot be read.
      ValueError: If the tar file has changed since it was scanned.
    """
    content = self.content(index)
    image = self._reader.decode(content, self.name(index))
    return {'image': image, 'label': self._labels[index]}

  def content(self, index: int) -> bytes:
    """The content of an image file, not decoded; raises like indexing."""
    return self._samples.image(index)

  def name(self, index: int) -> str:
    """The name of an image, with the path of its tar file, for messages."""
    return self._samples.where(index)

  def text(self, index: int) -> str:
    """The text of a sample; `has_texts` must be true.

    Raises:
      image_files.BrokenImageError: If it cannot be read or is not UTF-8.
      ValueError: If there is none, or the tar file has changed.
    """
    return self._samples.text(index)


def open_split(data: sections.Data, split: str) -> WebDataset:
  """Opens a split for an experiment, given its section `data`."""
  return WebDataset(data.path, split, reader=image_files.reader(data))
