"""Folders of image files."""

from collections.abc import Iterator, Mapping
import functools
import hashlib
import json
import os
from typing import Any

from etils import epath
import numpy as np

from rq_jax.config import sections
from rq_jax.data import file_names
from rq_jax.data import image_files
from rq_jax.data.image_tree import arrangement
from rq_jax.data.image_tree import index as index_lib
from rq_jax.data.sources import splits

_HASHED_AT_ONCE = 65_536
# The only names of splits, and kind of ignored files, before listings were
# stored in checkpoints.
_OLD_SPLITS = {'train': ('train',), 'test': ('test', 'val')}
_NEWLY_IGNORED = 'system files and folders'


class ImageFolder:
  """Images in folders: JPEG, PNG and WebP files of any size.

  The folder may have one of two layouts:

    path/train/..., path/test/...   each split has its own folder, with one of
                                    the names in `arrangement`;
    path/...                        every fifth file, in order, is in the test
                                    split.

  In both, `...` is CLASS/FILE, or just FILE for images without classes, which
  all get label 0. Files in folders below CLASS belong to CLASS, too. Labels
  number the class names of both splits together. The order of the examples is
  that of their labels, folders and names. `image_tree.entries` defines which
  files are ignored.

  Attributes:
    class_names: Names of the classes by label; None if there are none.
    num_classes: Number of classes; 1 if the images have no classes.
    ignored: Numbers of ignored files and folders by kind, in both splits.
    remarks: Sentences for the user about files that are not used.
    may_differ_from_older: Whether older versions may have found other splits or
      classes in this folder.
  """

  def __init__(
      self,
      path: epath.PathLike | None,
      split: str = 'train',
      *,
      reader: image_files.Reader | None = None,
      class_order: str = 'natural',
  ):
    """Lists the files of a split, without opening them.

    Args:
      path: The folder, local or remote.
      split: 'train' or 'test'.
      reader: Reads the files; None for a reader with default settings.
      class_order: Order of the classes; see `arrangement.arrange`.

    Raises:
      ValueError: If there is no such split or folder, no image in the split, or
        splits or classes cannot be recognised.
    """
    splits.check(split)
    if path is None or not epath.Path(path).is_dir():
      raise ValueError(
          f'config.data.path={path and str(path)!r} is not a folder, but the'
          " source 'image_folder' needs a folder of images. Change"
          ' --config.data.path.'
      )
    self._root = str(epath.Path(path))
    self._tree = tree = index_lib.open_tree(self._root)
    found = arrangement.arrange(tree, self._root, order=class_order)
    self.class_names = found.class_names
    self.num_classes = len(found.class_names or ('',))
    self.ignored: Mapping[str, int] = tree.ignored
    self.remarks = (*_ignored_remark(self._root, tree.ignored), *found.remarks)
    self.may_differ_from_older = _NEWLY_IGNORED in tree.ignored or any(
        name not in _OLD_SPLITS[split]
        for split, name in found.split_names.items()
    )
    self._reader = reader or image_files.Reader()
    self._folders = found.folders[split]
    self._labels = found.labels[split]
    counts = np.diff(tree.ends, prepend=0)[self._folders]
    self._ends = np.cumsum(counts)
    # By folder: added to the index of a file within all folders of the split,
    # this is its index in the tree.
    self._shifts = tree.ends[self._folders] - self._ends
    count = int(counts.sum())
    # The split, if every fifth file of the list is held out.
    self._divided_by = None if found.split_names else split
    self._count = count if found.split_names else splits.size(count, split)
    if not self._count:
      raise ValueError(
          f'config.data.path={str(path)!r} has no image in the {split} split.'
          ' The folder needs'
          f' {", ".join(sorted(image_files.EXTENSIONS))} files, in class'
          ' folders or directly in it, and at least 5 of them unless it has'
          ' folders train/ and test/. Change --config.data.path.'
          f' {" ".join(self.remarks)}'.rstrip()
      )

  @functools.cached_property
  def listing(self) -> str:
    """SHA-256 of the split's file names, relative to `path`, and labels."""
    hashed = hashlib.sha256(b'[[')
    for part in self._parts():
      folders, files = self._located(part)
      paths = [
          os.path.join('/', self._folder(folder), self._tree.files[file])
          for folder, file in zip(folders, files, strict=True)
      ]
      hashed.update(_continued(paths, is_first=part[0] == 0))
    hashed.update(b'], [')
    for part in self._parts():
      labels = self._labels[self._located(part)[0]].tolist()
      hashed.update(_continued(labels, is_first=part[0] == 0))
    hashed.update(b']]')
    return hashed.hexdigest()

  def __len__(self) -> int:
    """Number of images in the split."""
    return self._count

  def __getitem__(self, index: int) -> dict[str, Any]:
    """'image', uint8[h, w, 3], and 'label', int32[].

    Raises:
      BrokenImageError: If the file cannot be read; see `image_files.Reader`.
    """
    image = self._reader.read(self.path(index))
    return {'image': image, 'label': self.label(index)}

  def content(self, index: int) -> bytes:
    """The content of a file, not decoded; raises like indexing."""
    return image_files.content(self.path(index))

  def name(self, index: int) -> str:
    """Path of the file of an image, for messages."""
    return file_names.shown(self.path(index))

  def path(self, index: int) -> str:
    """Path of the file of an image."""
    folder, file = self._located(range(self._count)[index])
    return os.path.join(
        self._root, self._folder(folder), self._tree.files[file]
    )

  def label(self, index: int) -> np.int32:
    """Label of an image."""
    place, _ = self._located(range(self._count)[index])
    return np.int32(self._labels[place])

  def _folder(self, place: int) -> str:
    """Path of a folder of the split within the listed folder."""
    return self._tree.folders[self._folders[place]]

  def _located(self, index: Any) -> tuple[Any, Any]:
    """Where images lie: the index of the folder in the split, and of the file.

    Args:
      index: Index of an image, or an array of indices.
    """
    if self._divided_by is not None:
      index = splits.member(index, self._divided_by)
    place = np.searchsorted(self._ends, index, side='right')
    return place, index + self._shifts[place]

  def _parts(self) -> Iterator[np.ndarray]:
    """All indices of the split, in parts."""
    for start in range(0, self._count, _HASHED_AT_ONCE):
      yield np.arange(start, min(start + _HASHED_AT_ONCE, self._count))


def open_split(data: sections.Data, split: str) -> ImageFolder:
  """Opens a split for an experiment, given its section `data`."""
  return ImageFolder(
      data.path,
      split,
      reader=image_files.reader(data),
      class_order=data.class_order,
  )


def _continued(values: list, *, is_first: bool) -> bytes:
  """The next values of a JSON list, without brackets."""
  text = json.dumps(values)[1:-1]
  return (text if is_first else f', {text}').encode()


def _ignored_remark(root: str, ignored: Mapping[str, int]) -> list[str]:
  if not ignored:
    return []
  kinds = ', '.join(f'{kind} ({count})' for kind, count in ignored.items())
  return [f'Ignored in {root}: {kinds}.']
