"""Finds out how to read a folder of images, from the files in it."""

from collections.abc import Iterator
import itertools

from etils import epath

from rq_jax.data.feature_cache import layout
from rq_jax.data.image_tree import entries
from rq_jax.data.prepared import folder as folder_lib

_LOOKED_AT = 1000  # Entries of a folder.


def source_of(path: str, *, flag: str = '--data') -> str:
  """Name of the source that reads a folder: a value of `data.source`.

  Args:
    path: The folder.
    flag: The flag that names it, for errors.

  Raises:
    ValueError: If the folder is a cache of features, or there is none.
  """
  folder = epath.Path(path)
  if not folder.is_dir():
    raise ValueError(
        f'{flag}={path} is not a folder. Give the folder of your images.'
    )
  if (folder / 'train' / layout.META).exists():
    raise ValueError(
        f'{flag}={path} is a cache of features. Give the folder of the images'
        ' that were encoded.'
    )
  if folder_lib.find_all(folder):
    return 'tfds'
  below = (entry for entry in _some(folder) if entry.is_dir())
  if any(map(_has_tars, (folder, *below))):
    return 'webdataset'
  return 'image_folder'


def _has_tars(folder: epath.Path) -> bool:
  """Whether there are tar files, and no images, among the first entries."""
  names = [entry.name for entry in _some(folder)]
  has_images = any(map(entries.is_image, names))
  return not has_images and any(n.lower().endswith('.tar') for n in names)


def _some(folder: epath.Path) -> Iterator[epath.Path]:
  """The first entries of a folder, which may have millions."""
  return itertools.islice(folder.iterdir(), _LOOKED_AT)
