"""Folders of image files, with or without folders for classes and splits."""

import os

import numpy as np

from rq_jax.data import image_files
from rq_jax.data.sources import image_folder
from rq_jax.data.sources import splits
from rq_jax.distributed import console
from rq_jax.jobs.prepare import origins

_MEASURED = 1024  # Files whose sizes are read to estimate the size of all.


class FolderOrigin:
  """The examples of one split of a folder; see `origins.Origin`."""

  has_texts = False

  def __init__(self, folder: str, source: image_folder.ImageFolder):
    """Takes the folder and its listed split."""
    self._folder, self._source = folder, source
    self.class_names = source.class_names
    self.num_classes = len(source.class_names or ())
    self.listing = source.listing
    self.num_bytes = self._estimate()

  def __len__(self) -> int:
    """Number of files."""
    return len(self._source)

  def __getitem__(self, index: int) -> origins.Raw:
    """Reads one file.

    Raises:
      BrokenImageError: If the file is missing or not a regular file.
    """
    path = self._source.path(index)
    return origins.Raw(
        content=image_files.content(path),
        name=os.path.relpath(path, self._folder),
        label=int(self._source.label(index)) if self.num_classes else None,
    )

  def _estimate(self) -> int:
    """Bytes of all files, from the sizes of some that are evenly spaced."""
    count = len(self._source)
    chosen = np.unique(np.linspace(0, count - 1, _MEASURED).astype(int))
    sizes = [_size(self._source.path(int(index))) for index in chosen]
    return sum(sizes) * count // len(sizes)


def open_splits(src: str) -> dict[str, origins.Origin]:
  """Opens both splits of a folder.

  Without folders for the splits, every fifth file is held out.

  Prints which files are left out.

  Raises:
    ValueError: If there is no such folder, or a split has no images.
  """
  try:
    opened = {
        split: image_folder.ImageFolder(src, split) for split in splits.SPLITS
    }
  except ValueError as error:
    # The source names a field of an experiment, but here it is a flag.
    message = str(error).replace('--config.data.path', '--src')
    raise ValueError(message.replace('config.data.path', '--src')) from error
  for remark in opened['train'].remarks:
    console.tell(remark.replace('--config.data.path', '--src'))
  return {split: FolderOrigin(src, source) for split, source in opened.items()}


def _size(path: str) -> int:
  try:
    return os.stat(path).st_size
  except OSError:  # A link to a missing file, which is refused later.
    return 0
