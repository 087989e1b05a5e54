"""Finds the splits and the classes in a list of image files.

Splits are folders with usual names, such as `train` and `val`. Without them,
every fifth file is held out. Classes are the folders below the folder of a
split, or below the listed folder; all files in and below such a folder have its
class.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import re

import numpy as np

from rq_jax.data.image_tree.tree import Tree

TRAINING = ('train', 'training')
# If there are several, the first of these is the held-out split.
HELD_OUT = ('test', 'testing', 'val', 'valid', 'validation')
ORDERS = ('natural', 'alphabetical')

_SHOWN = 5  # Names in a message.
_CHANGE = 'Change --config.data.path.'
_Groups = dict[str, list[int]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrangement:
  """Splits and classes of a tree.

  Attributes:
    class_names: Names of the classes by label; None without classes.
    divided: Whether each split has its own folder. If not, both splits are
      the whole list.
    folders: For each split, the indices of its folders in order, int64[F].
    labels: For each split, the class of each of its folders, int32[F].
    remarks: Sentences about files that are not used, or used in a way that
      may surprise.
  """

  class_names: tuple[str, ...] | None
  divided: bool
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
  paths = [tuple(path.split('/')) if path else () for path in tree.folders]
  counts = np.diff(tree.ends, prepend=0)
  found = _Folders(root, paths, counts)
  top = found.below((), range(len(paths)))
  named = _named_splits(found, top)
  roots = {split: (name,) for split, name in named.items()} or {'train': ()}
  ids = {s: top[path[0]] if path else list(range(len(paths)))
         for s, path in roots.items()}  # fmt: skip
  classes = {s: found.below(path, ids[s]) for s, path in roots.items()}
  remarks = _unused_beside_splits(found, top, named)
  names = None
  if any(found.images(group) for c in classes.values() for group in c.values()):
    every = {name for groups in classes.values() for name in groups}
    names = tuple(sorted(every, key=_key if order == 'natural' else None))
    remarks += _check_classes(found, classes, roots, ids)
    remarks += _empty_or_single(found, classes, names, roots)
  folders, labels = {}, {}
  for split in roots:
    chosen, numbers = [ids[split][0]], [0]
    if names is not None:
      groups = [
          (i, classes[split].get(name, ())) for i, name in enumerate(names)
      ]
      chosen = [folder for _, group in groups for folder in group]
      numbers = [label for label, group in groups for _ in group]
    folders[split] = np.array(chosen, np.int64)
    labels[split] = np.array(numbers, np.int32)
  if not named:
    folders['test'], labels['test'] = folders['train'], labels['train']
  return Arrangement(
      class_names=names,
      divided=bool(named),
      folders=folders,
      labels=labels,
      remarks=tuple(remarks),
  )


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

  def below(self, path: tuple[str, ...], ids: Iterable[int]) -> _Groups:
    """The folders `ids`, which lie in `path`, by their next name."""
    groups: _Groups = {}
    depth = len(path)
    for i in ids:
      if len(self.paths[i]) > depth:
        groups.setdefault(self.paths[i][depth], []).append(i)
    return groups

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


def _named_splits(found: _Folders, top: _Groups) -> dict[str, str]:
  """Names of the folders of the splits by split; empty if there are none.

  Raises:
    ValueError: If only one split has a folder, and nothing else has images, or
      if two folders have the same name of a split, in different cases.
  """
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
            ' both be the same split. Keep one of them in this folder, and move'
            ' the other elsewhere.'
        )
    return {split: given[0] for split, given in names.items()}
  single = names['train'] or names['test']
  others = [n for n in top if n not in single and found.images(top[n])]
  if single and not others and not found.counts[0]:
    held_out = ' or '.join(f'{name}/' for name in HELD_OUT)
    missing = f'held-out images ({held_out})' if names['train'] else 'training'
    raise ValueError(
        f'{found.root} has a folder {single[0]}/, but none for {missing} beside'
        ' it. Add it; or, to hold out every fifth image, set'
        f' --config.data.path={found.shown((single[0],))}.'
    )
  return {}


def _unused_beside_splits(
    found: _Folders, top: _Groups, named: dict[str, str]
) -> list[str]:
  """Remarks about images beside the folders of splits."""
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
        f'Neither are {len(others) - _SHOWN} more folders beside {used}.'
    )
  if found.counts[0]:
    remarks.append(
        f'{found.counts[0]} images directly in {found.root} are not used: the'
        f' splits are {used}.'
    )
  return remarks


def _check_classes(
    found: _Folders,
    classes: dict[str, _Groups],
    roots: dict[str, tuple[str, ...]],
    ids: dict[str, list[int]],
) -> list[str]:
  """Remarks about images beside class folders.

  Raises:
    ValueError: If one split has class folders with images, and the other only
      images without classes.
  """
  remarks = []
  for split, groups in classes.items():
    loose = int(found.counts[ids[split][0]])
    where = found.shown(roots[split])
    if loose and not any(map(found.images, groups.values())):
      other = 'test' if split == 'train' else 'train'
      raise ValueError(
          f'{where} has {loose} images without class folders, but'
          f' {found.shown(roots[other])} has class folders. Arrange both splits'
          f' in the same way, or choose another folder. {_CHANGE}'
      )
    if loose:
      remarks.append(
          f'{loose} images directly in {where} are not used, because they have'
          ' no class: beside them are class folders.'
      )
  return remarks


def _empty_or_single(
    found: _Folders,
    classes: dict[str, _Groups],
    names: tuple[str, ...],
    roots: dict[str, tuple[str, ...]],
) -> list[str]:
  """Remarks about classes without images, and about data of a single class."""
  groups = {
      name: [i for c in classes.values() for i in c.get(name, ())]
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
  depth = len(next(iter(roots.values()))) + 1
  nested = groups[names[0]]
  if len(names) == 1 and any(
      len(found.paths[i]) > depth and found.counts[i] for i in nested
  ):
    path = found.shown(found.paths[nested[0]])
    remarks.append(
        f'All images are of one class, {names[0]}, also those in folders below'
        f' {path}. If these folders are classes or splits, set'
        f' --config.data.path={path}.'
    )
  return remarks
