"""LSUN as it is downloaded: one LMDB database per split, unzipped."""

import functools
import os
import pathlib
import threading
from typing import Any

from rq_jax.data import file_names
from rq_jax.jobs.prepare import origins

# Splits of LSUN, by the name that we give them.
_SPLITS = {'train': 'train', 'validation': 'val'}
_DATA = 'data.mdb'
# First bytes of a WebP file. All other images of LSUN are JPEG files.
_WEBP = b'RIFF'
# Held while a database is opened, which a process may do only once.
_OPENING = threading.Lock()


class Database:
  """The images of a split; see `origins.Origin`.

  Attributes:
    num_bytes: Size of the database.
    num_classes: 0, because a category of LSUN has no classes.
    class_names: None.
    has_texts: False.
    listing: SHA-256 of the keys of all images.
  """

  num_classes = 0
  class_names = None
  has_texts = False

  def __init__(self, folder: pathlib.Path):
    """Lists the keys of a database.

    Args:
      folder: The folder with `data.mdb`.

    Raises:
      ValueError: If it is no database, or is cut off.
      ImportError: If lmdb is not installed.
    """
    self._folder = str(folder)
    self.num_bytes = (folder / _DATA).stat().st_size
    self._keys = _list_keys(self._folder, self.num_bytes)
    self.listing = self._keys.listing()

  def __len__(self) -> int:
    """Number of images."""
    return len(self._keys)

  def __getitem__(self, index: int) -> origins.Raw:
    """An image as it lies in the database.

    Raises:
      ValueError: If the database has changed.
    """
    key = self._keys[index]
    with _environment(self._folder).begin() as transaction:
      content = transaction.get(os.fsencode(key))
    if content is None:
      raise ValueError(
          f'{self._folder} has changed: {file_names.shown(key)} is missing.'
          ' Run the same command again.'
      )
    ending = 'webp' if content.startswith(_WEBP) else 'jpg'
    return origins.Raw(content=content, name=f'{key}.{ending}')


def open_splits(src: str) -> dict[str, Database]:
  """Opens the splits of a category of LSUN.

  Args:
    src: The folder with `CATEGORY_train_lmdb/` and perhaps
      `CATEGORY_val_lmdb/`. If it has several categories, add the name of one,
      as in `folder/CATEGORY`. For a folder with `data.mdb`, all images are in
      the training split.

  Raises:
    ValueError: If there is no such folder, or it has several categories.
    ImportError: If lmdb is not installed.
  """
  path = pathlib.Path(os.path.abspath(src))
  if (path / _DATA).exists():
    return {'train': Database(path)}
  prefix = _prefix(path)
  folders = {
      name: pathlib.Path(f'{prefix}_{split}_lmdb')
      for name, split in _SPLITS.items()
  }
  return {
      name: Database(folder)
      for name, folder in folders.items()
      if name == 'train' or folder.exists()
  }


def _prefix(path: pathlib.Path) -> str:
  """Path of the databases of one category, without `_train_lmdb`."""
  ending = '_train_lmdb'
  found = [str(p) for p in path.glob(f'*{ending}') if (p / _DATA).exists()]
  if os.path.exists(f'{path}{ending}/{_DATA}'):
    found = [f'{path}{ending}']
  names = sorted(name.removesuffix(ending) for name in found)
  if len(names) > 1:
    raise ValueError(
        f'--src={path} has the categories'
        f' {", ".join(os.path.basename(name) for name in names)}, and only one'
        f' can be prepared at a time. Give, for example, --src={names[0]}.'
    )
  if names:
    return names[0]
  zipped = [
      *path.glob('*_lmdb.zip'),
      *path.parent.glob(f'{path.name}_*_lmdb.zip'),
      *path.parent.glob(f'{path.name}.zip'),
  ]
  if zipped:
    raise ValueError(
        f'{zipped[0]} is still zipped. Unzip it with `unzip {zipped[0]} -d'
        f' {zipped[0].parent}`.'
    )
  raise ValueError(
      f'--src={path} has no folder CATEGORY{ending}/ with a file {_DATA}, such'
      f' as bedroom{ending}/. Give the folder with the unzipped databases of'
      ' LSUN.'
  )


def _list_keys(folder: str, size: int) -> file_names.Packed:
  """All keys of a database, in its own order, which never changes."""
  lmdb = _import()
  keys = file_names.Packer()
  try:
    environment = _environment(folder)
    pages = environment.info()['last_pgno'] + 1
    # Reading past the end of the file would kill the process.
    if pages * environment.stat()['psize'] > size:
      raise ValueError(
          f'{folder}/{_DATA} is cut off. Download it again, or unzip it again.'
      )
    with environment.begin() as transaction:
      cursor = transaction.cursor()
      for key in cursor.iternext(keys=True, values=False):
        keys.add([key])
  except lmdb.Error as error:
    raise ValueError(
        f'{folder} cannot be read as a database of LMDB ({error}). Download it'
        ' again.'
    ) from error
  return keys.pack()


def _environment(folder: str) -> Any:
  """An open database."""
  with _OPENING:
    return _open(folder)


@functools.lru_cache(maxsize=4)
def _open(folder: str) -> Any:
  """Opens a database for reading; a process can open it only once."""
  return _import().open(folder, readonly=True, lock=False, readahead=False)


def _import() -> Any:
  """The module `lmdb`."""
  try:
    import lmdb
  except ImportError as error:
    raise ImportError(
        '--from=lsun needs lmdb. Install it with `pip install'
        " 'rq_jax[lsun]'`."
    ) from error
  return lmdb
