"""Folders of image files."""

import hashlib
import json
from typing import Any

from etils import epath
import numpy as np

from rq_jax.config import sections
from rq_jax.data import image_files
from rq_jax.data.sources import splits


class ImageFolder:
  """Images in folders: JPEG, PNG and WebP files of any size.

  The folder may have one of two layouts:

    path/train/..., path/test/... (or val/)   each split has its own folder;
    path/...                                  every fifth file, in order, is in
                                              the test split.

  In both, `...` is CLASS/FILE, or just FILE for images without classes, which
  all get label 0. Labels number the class names of both splits together, in
  alphabetical order. Other files, deeper folders, and folders whose name begins
  with a dot are ignored. The rotation that a camera stores in a file is
  ignored, too, as in torchvision.

  Attributes:
    classes: Names of the classes; empty if there are none.
    num_classes: Number of classes; 1 if the images have no classes.
  """

  def __init__(
      self,
      path: epath.PathLike | None,
      split: str = 'train',
      *,
      reader: image_files.Reader | None = None,
  ):
    """Lists the files of a split, without opening them.

    Args:
      path: The folder, local or remote.
      split: 'train' or 'test'.
      reader: Reads the files; None for a reader with default settings.

    Raises:
      ValueError: If there is no such split or folder, or no image in the split.
    """
    splits.check(split)
    if path is None or not epath.Path(path).is_dir():
      raise ValueError(
          f'config.data.path={str(path)!r} is not a folder, but the source'
          " 'image_folder' needs a folder of images. Change --config.data.path."
      )
    root = epath.Path(path)
    folders = _split_folders(root)
    roots = tuple(folders.values()) or (root,)
    names = {folder.name for each in roots for folder in _subfolders(each)}
    self.classes = tuple(sorted(names))
    self.num_classes = len(self.classes) or 1
    files, labels = _list_images(folders.get(split, root), self.classes)
    if not folders:
      chosen = splits.members(len(files), split)
      files, labels = [files[i] for i in chosen], labels[chosen]
    self._root, self._files, self._labels = root, files, labels
    self._reader = reader or image_files.Reader()
    if not files:
      raise ValueError(
          f'config.data.path={str(path)!r} has no image in the {split} split.'
          ' The folder needs'
          f' {", ".join(sorted(image_files.EXTENSIONS))} files, in class'
          ' folders or directly in it, and at least 5 of them unless it has'
          ' folders train/ and test/. Change --config.data.path.'
      )

  @property
  def listing(self) -> str:
    """SHA-256 of the split's file names, relative to `path`, and labels."""
    start = len(str(self._root))
    names = [file[start:] for file in self._files]
    listed = json.dumps([names, self._labels.tolist()])
    return hashlib.sha256(listed.encode()).hexdigest()

  def __len__(self) -> int:
    """Number of images in the split."""
    return len(self._files)

  def path(self, index: int) -> str:
    """Path of the file of an image."""
    return self._files[index]

  def __getitem__(self, index: int) -> dict[str, Any]:
    """'image', uint8[h, w, 3], and 'label', int32[].

    Raises:
      ValueError: If the file cannot be read; see `image_files.Reader`.
    """
    path = self._files[index]
    image = self._reader.read(path)
    return {'image': image, 'label': self._labels[index]}


def open_split(data: sections.Data, split: str) -> ImageFolder:
  """Opens a split for an experiment, given its section `data`."""
  return ImageFolder(data.path, split, reader=image_files.reader(data))


def _subfolders(folder: epath.Path) -> list[epath.Path]:
  entries = (e for e in folder.iterdir() if not e.name.startswith('.'))
  # Most entries are images. Their extensions show this without a request to the
  # file system.
  return [
      e
      for e in entries
      if e.suffix.lower() not in image_files.EXTENSIONS and e.is_dir()
  ]


def _split_folders(root: epath.Path) -> dict[str, epath.Path]:
  """The folders of the splits by name; empty if `root` has no such folders."""
  names = {folder.name for folder in _subfolders(root)}
  test = next((name for name in ('test', 'val') if name in names), None)
  if test is None or 'train' not in names:
    return {}
  return {'train': root / 'train', 'test': root / test}


def _list_images(
    root: epath.Path, classes: tuple[str, ...]
) -> tuple[list[str], np.ndarray]:
  """Lists the files in order, and their labels, int32[N]."""
  files, labels = [], []
  folders = [root / name for name in classes] or [root]
  for label, folder in enumerate(folders):
    if not folder.is_dir():
      continue  # Only the other split has images of this class.
    images = (
        e
        for e in folder.iterdir()
        if e.suffix.lower() in image_files.EXTENSIONS
    )
    paths = sorted(str(image) for image in images)
    files += paths
    labels += [label] * len(paths)
  return files, np.array(labels, np.int32)
