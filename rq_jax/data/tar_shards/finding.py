"""Finds the tar files of each split in a folder."""

import os
import pathlib
import re
from typing import NamedTuple

from etils import epath

from rq_jax import files
from rq_jax.data.tar_files import Tar

TRAIN, VALIDATION, TEST = 'train', 'validation', 'test'

_SPLIT = re.compile(r'(?<![a-z])(train|val|valid|validation|test)(?![a-z])')
_LONG = {'val': VALIDATION, 'valid': VALIDATION}
_COMPRESSED = re.compile(r'\.(tgz|tar\.(gz|bz2|xz|zst))$')


class Found(NamedTuple):
  """The tar files of a dataset.

  Attributes:
    root: Absolute path of the folder.
    train: Tar files of the training split, in the order of their names.
    held_out: Tar files of the held-out split; empty if there is none.
    held_out_name: 'validation' or 'test'; None without a held-out split.
    unused: Tar files of a third split.
  """

  root: str
  train: list[str]
  held_out: list[str]
  held_out_name: str | None
  unused: list[str]


def find(path: epath.PathLike) -> Found:
  """Finds the tar files in a folder, and in the folders in it.

  A tar file belongs to the split that its name or its folder contains: 'train',
  'val', 'valid', 'validation' or 'test'. With all three splits, 'test' is not
  used. If no name contains a split, or all contain the same, all tar files are
  in the training split.

  Args:
    path: The folder.

  Raises:
    ValueError: If there is no tar file, if one is compressed, or if only some
      names contain a split.
  """
  if not files.is_local(path):
    Tar.at(path)  # Raises.
  root = pathlib.Path(os.path.abspath(path))
  entries = [*root.glob('*'), *root.glob('*/*')] if root.is_dir() else []
  visible = sorted(
      name
      for name in (str(entry.relative_to(root)) for entry in entries)
      if not any(part.startswith('.') for part in name.split('/'))
  )
  found = [name for name in visible if name.lower().endswith('.tar')]
  compressed = [name for name in visible if _COMPRESSED.search(name.lower())]
  if compressed:
    raise ValueError(
        f'{root / compressed[0]} is compressed, so its files cannot be read one'
        ' by one. Decompress it, or move it to another folder.'
    )
  if not found:
    raise ValueError(
        f'{path} is not a folder with tar files (or with folders of tar files).'
        ' Give the folder of a dataset in tar files.'
    )
  return _divide(str(root), found)


def _divide(root: str, found: list[str]) -> Found:
  named: dict[str | None, list[str]] = {}
  for name in found:
    match = _SPLIT.search(name.lower())
    split = _LONG.get(match[1], match[1]) if match else None
    named.setdefault(split, []).append(os.path.join(root, name))
  if len(named) == 1:
    (train,) = named.values()
    return Found(root, train, [], None, [])
  if None in named:
    raise ValueError(
        f'The path of {named[None][0]} contains none of train, val, valid,'
        ' validation and test, but those of other tar files do. Move or rename'
        ' it.'
    )
  if TRAIN not in named:
    raise ValueError(
        f'{root} has validation and test files, but no tar file with train in'
        ' its path. Move or rename the training files.'
    )
  held_out = VALIDATION if VALIDATION in named else TEST
  unused = named.get(TEST, []) if held_out == VALIDATION else []
  return Found(root, named[TRAIN], named[held_out], held_out, unused)
