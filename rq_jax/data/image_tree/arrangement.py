"""Finds the splits and the classes in a list of image files.

Splits are folders with usual names, such as `train` and `val`. Without them,
every fifth file is held out. Classes are the folders below the folder of a
split, or below the listed folder; all files in and below such a folder have its
class.
"""

from collections.abc import Sequence
import dataclasses
import re

import numpy as np

from rq_jax.data.image_tree.tree import Tree

TRAINING = ('train', 'training')
# If there are several, the first of these is the held-out split.
HELD_OUT = ('test', 'testing', 'val', 'valid', 'validation')

_SHOWN = 5  # Names in a message.
_Groups = dict[str, list[int]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrangement:
  """Splits and classes of a tree.

  Attributes:
    class_names: Names of the classes by label; None without classes.
    split_names: Names of the folders of the splits, by split. If there are
      none, `folders` holds the whole list for both splits.
    folders: For each split, the indices of its folders in order, int64[F].
    labels: For each split, the class of each of its folders, int32[F].
    remarks: Sentences about files that are not used, or used in a way that
      may surprise.
  """

  class_names: tuple[str, ...] | None
  split_names: dict[str, str]
  folders: dict[str, np.ndarray]
  labels: dict[str, np.ndarray]
  remarks: tuple[str, ...]


def arrange(tree: Tree, root: str, *, order: str = 'natural') -> Arrangement:
  """Finds splits and classes.

  Args:
    tree: All images in the folder.
    root: Path of the folder, for messages.
    order: Order of the classes: 'natural' compares numbers in names as numbers,
      'alphabetical' compares only characters.

  Raises:
    ValueError: If only one of the splits has a folder or classes.
  """
  found = _Folders(
      root=root,
      paths=[tuple(p.split('/')) if p else () for p in tree.folders],
      counts=np.diff(tree.ends, prepend=0),
  )
  whole = found.part((), range(len(found.paths)))
  named = _named_splits(found, whole)
  parts = {s: found.part((n,), whole.groups[n]) for s, n in named.items()}
  parts = parts or {'train': whole}
  remarks = _unused_beside_splits(found, whole, named)
  names = None
  if any(found.has_classes(part) for part in parts.values()):
    every = {name for part in parts.values() for name in part.groups}
    names = tuple(sorted(every, key=_key if order == 'natural' else None))
    remarks += _check_classes(found, parts)
    remarks += _empty_or_single(found, parts, names)
  by_split = {split: _in_order(part, names) for split, part in parts.items()}
  by_split.setdefault('test', by_split['train'])
  return Arrangement(
      class_names=names,
      split_names=named,
      folders={split: folders for split, (folders, _) in by_split.items()},
      labels={split: labels for split, (_, labels) in by_split.items()},
      remarks=tuple(remarks),
  )


@dataclasses.dataclass(frozen=True)
class _Part:
  """The folder of a split, or the listed folder.

  Attributes:
    path: Path of the folder within the listed one, as names.
    ids: Indices of this folder and of all below it.
    groups: Indices of the folders in and below each folder of it, by name.
  """

  path: tuple[str, ...]
  ids: Sequence[int]
  groups: _Groups


@dataclasses.dataclass(frozen=True)
class _Folders:
  """The folders of a tree, to look at by path.

  Attributes:
    root: Path of the listed folder.
    paths: Path of each folder within it, as names.
    counts: Number of images in each folder, without those below, int64[F].
  """

  root: str
  paths: list[tuple[str, ...]]
  counts: np.ndarray

  def part(self, path: tuple[str, ...], ids: Sequence[int]) -> _Part:
    """The folder `path`, given the indices of it and of all below it."""
    groups: _Groups = {}
    for i in ids[1:]:
      groups.setdefault(self.paths[i][len(path)], []).append(i)
    return _Part(path, ids, groups)

  def has_classes(self, part: _Part) -> bool:
    """Whether there are images in folders of a folder."""
    return self.images(part.ids[1:]) > 0

  def loose(self, part: _Part) -> int:
    """Number of images directly in a folder."""
    return int(self.counts[part.ids[0]])

  def images(self, ids: Sequence[int]) -> int:
    """Number of images in folders."""
    return int(self.counts[list(ids)].sum())

  def shown(self, path: tuple[str, ...]) -> str:
    """A folder for messages."""
    return '/'.join((self.root, *path))


def _key(name: str) -> tuple:
  """Sorts names naturally: '2' before '10', 'b2' before 'b10'."""
  parts = re.split('([0-9]+)', name)
  parts[1::2] = [int(digits) for digits in parts[1::2]]
  return parts, name


def _in_order(
    part: _Part, names: tuple[str, ...] | None
) -> tuple[np.ndarray, np.ndarray]:
  """The folders of a split by class, int64[F], and their labels, int32[F]."""
  if names is None:
    return np.array([part.ids[0]], np.int64), np.zeros(1, np.int32)
  groups = [part.groups.get(name, []) for name in names]
  labels = np.repeat(np.arange(len(names)), [len(group) for group in groups])
  folders = [i for group in groups for i in group]
  return np.array(folders, np.int64), labels.astype(np.int32)


def _named_splits(found: _Folders, whole: _Part) -> dict[str, str]:
  """Names of the folders of the splits by split; empty if there are none.

  Raises:
    ValueError: If only one split has a folder, and nothing else has images, or
      if two folders have the same name of a split, in different cases.
  """
  top = whole.groups
  names = {
      'train': [n for n in top if n.lower() in TRAINING],
      'test': sorted(
          (n for n in top if n.lower() in HELD_OUT),
          key=lambda n: HELD_OUT.index(n.lower()),
      ),
  }
  if names['train'] and names['test']:
    for split in names.values():
      same = [n for n in split if n.lower() == split[0].lower()]
      if len(same) > 1 or split is names['train'] and len(split) > 1:
        raise ValueError(
            f'{found.root} has the folders {" and ".join(split)}, which could'
            ' be the same split. Keep one of them in this folder, and move the'
            ' others elsewhere.'
        )
    return {split: given[0] for split, given in names.items()}
  single = names['train'] or names['test']
  others = [n for n in top if n not in single and found.images(top[n])]
  if single and not others and not found.loose(whole):
    held_out = ' or '.join(f'{name}/' for name in HELD_OUT)
    missing = f'held-out images ({held_out})' if names['train'] else 'training'
    raise ValueError(
        f'{found.root} has a folder {single[0]}/, but none for {missing} beside'
        ' it. Add it; or, to hold out every fifth image, set'
        f' --config.data.path={found.shown((single[0],))}.'
    )
  return {}


def _unused_beside_splits(
    found: _Folders, whole: _Part, named: dict[str, str]
) -> list[str]:
  """Remarks about images beside the folders of splits."""
  top = whole.groups
  splits = [n for n in top if n.lower() in TRAINING + HELD_OUT]
  if not named:
    return [
        f'{found.shown((name,))} counts as a class, not as a split, because'
        ' there is no other split beside it.'
        for name in splits
    ]
  used = f'{named["train"]}/ and {named["test"]}/'
  others = [n for n in top if n not in named.values() and found.images(top[n])]
  remarks = [
      f'{found.shown((name,))} is not used ({found.images(top[name])} images):'
      f' the splits are {used}.'
      for name in others[:_SHOWN]
  ]
  if len(others) > _SHOWN:
    remarks.append(
        f'{len(others) - _SHOWN} more folders beside {used} are not used.'
    )
  if loose := found.loose(whole):
    remarks.append(
        f'{loose} images directly in {found.root} are not used: the'
        f' splits are {used}.'
    )
  return remarks


def _check_classes(found: _Folders, parts: dict[str, _Part]) -> list[str]:
  """Remarks about images beside class folders.

  Raises:
    ValueError: If one split has class folders with images, and the other only
      images without classes.
  """
  remarks = []
  for split, part in parts.items():
    loose, where = found.loose(part), found.shown(part.path)
    if loose and not found.has_classes(part):
      other = parts['test' if split == 'train' else 'train']
      raise ValueError(
          f'{where} has {loose} images without class folders, but'
          f' {found.shown(other.path)} has class folders. Arrange both splits'
          ' in the same way, or change --config.data.path.'
      )
    if loose:
      remarks.append(
          f'{loose} images directly in {where} are not used, because they lie'
          ' beside class folders and have no class.'
      )
  return remarks


def _empty_or_single(
    found: _Folders, parts: dict[str, _Part], names: tuple[str, ...]
) -> list[str]:
  """Remarks about classes without images, and about data of a single class."""
  groups = {
      name: [i for part in parts.values() for i in part.groups.get(name, [])]
      for name in names
  }
  empty = [name for name, ids in groups.items() if not found.images(ids)]
  remarks = []
  if empty:
    more = ', ...' if len(empty) > _SHOWN else ''
    remarks.append(
        f'{len(empty)} of {len(names)} classes have no images:'
        f' {", ".join(empty[:_SHOWN])}{more}.'
    )
  only = groups[names[0]]
  class_path = found.paths[only[0]]
  below = [i for i in only if len(found.paths[i]) > len(class_path)]
  if len(names) == 1 and found.images(below):
    path = found.shown(class_path)
    remarks.append(
        f'All images have the class {names[0]}, even those in folders below'
        f' {path}. If these folders are classes or splits, set'
        f' --config.data.path={path}.'
    )
  return remarks
