"""Statistics of a dataset, from the rows of facts that `reading` makes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rq_jax.data import file_names
from rq_jax.data import sources
from rq_jax.jobs.inspect import duplicates
from rq_jax.jobs.inspect import reading

SIZES = (32, 64, 128, 256)  # Image sizes of the configs in configs/own/.
_SIDES = (1, 32, 64, 128, 256, 512, 1024, 2048)
# Limits of long over short side, with their names.
_SHAPES = (
    (1.0, 'square'),
    (4 / 3, 'up to 4:3'),
    (2.0, 'up to 2:1'),
    (4.0, 'up to 4:1'),
    (np.inf, 'longer'),
)
_COMMON = 6


def describe(splits: Mapping[str, reading.Split]) -> dict[str, Any]:
  """Figures of a dataset, as values that JSON can hold.

  Args:
    splits: The splits by name, at least one image of which could be read.
  """
  rows = np.concatenate([split.rows for split in splits.values()])
  files = all(
      isinstance(split.source, sources.ImageFiles) for split in splits.values()
  )
  return {
      'splits': {
          name: {
              'images': len(split.source),
              'read': split.num_read,
              'broken': len(split.broken),
          }
          for name, split in splits.items()
      },
      'classes': _classes(splits),
      'sizes': sizes(rows['height'], rows['width']),
      'grey': int(rows['grey'].sum()),
      # Headers of images inside larger files are not read.
      'alpha': int(rows['alpha'].sum()) if files else None,
      'rotated': int(rows['rotated'].sum()) if files else None,
      'broken': [
          {'split': name, 'index': broken.index, 'reason': broken.reason}
          for name, split in splits.items()
          for broken in split.broken
      ],
      'ignored': _ignored(splits),
      'remarks': _remarks(splits),
      'duplicates': _named(duplicates.exact(rows['digest']), splits),
      'similar': _named(
          duplicates.similar(rows['thumbnail'], rows['digest']), splits
      ),
  }


def sizes(heights: np.ndarray, widths: np.ndarray) -> dict[str, Any]:
  """Figures of the sizes of images.

  Args:
    heights: Heights in pixels, int[N].
    widths: Widths in pixels, int[N].
  """
  short, long = np.minimum(heights, widths), np.maximum(heights, widths)
  area = heights.astype(np.int64) * widths
  pairs, counts = np.unique(
      np.stack([widths, heights]), axis=1, return_counts=True
  )
  order = np.argsort(-counts, kind='stable')[:_COMMON]
  return {
      'distinct': len(counts),
      'common': [
          {'width': int(w), 'height': int(h), 'images': int(n)}
          for (w, h), n in zip(pairs.T[order], counts[order])
      ],
      'smallest': _size(heights, widths, int(np.argmin(area))),
      'largest': _size(heights, widths, int(np.argmax(area))),
      'short_side': _histogram(short),
      'shapes': _shapes(long / short),
      'cropped_away': float(np.mean(1 - short / long)),
      'enlarged': {s: float(np.mean(short < s)) for s in SIZES},
  }


def _size(heights: np.ndarray, widths: np.ndarray, index: int) -> list[int]:
  return [int(widths[index]), int(heights[index])]


def _histogram(sides: np.ndarray) -> dict[str, int]:
  """Number of images by range of the short side."""
  edges = [*_SIDES, np.iinfo(np.int64).max]
  counts, _ = np.histogram(sides, edges)
  names = [f'{a} to {b - 1}' for a, b in zip(_SIDES, _SIDES[1:])]
  return dict(zip([*names, f'{_SIDES[-1]} or more'], counts.tolist()))


def _shapes(ratios: np.ndarray) -> dict[str, int]:
  """Number of images by ratio of the long to the short side."""
  found, below = {}, 0
  for limit, name in _SHAPES:
    up_to = int(np.sum(ratios <= limit))
    found[name], below = up_to - below, up_to
  return found


def _classes(splits: Mapping[str, reading.Split]) -> list[dict[str, Any]]:
  """Name and number of images of every class, in the order of labels."""
  opened = [split.source for split in splits.values()]
  number = max(source.num_classes for source in opened)
  names = opened[0].class_names
  counts = {
      name: np.bincount(split.rows['label'], minlength=number)
      for name, split in splits.items()
  }
  return [
      {
          'name': file_names.shown(names[label]) if names else str(label),
          **{name: int(count[label]) for name, count in counts.items()},
      }
      for label in range(number)
  ]


def _ignored(splits: Mapping[str, reading.Split]) -> dict[str, int]:
  """Number of files that the source ignores, by kind."""
  for split in splits.values():
    # The listing of a folder covers both splits.
    if found := getattr(split.source, 'ignored', None):
      return {str(kind): int(count) for kind, count in found.items()}
  return {}


def _remarks(splits: Mapping[str, reading.Split]) -> list[str]:
  """Remarks of the source about its files."""
  found = [sources.remarks(split.source) for split in splits.values()]
  # Most remarks are about the files of both splits.
  return list(
      dict.fromkeys(file_names.shown(r) for each in found for r in each)
  )


def _place(row: int, splits: Mapping[str, reading.Split]) -> tuple[str, int]:
  """Split and index of an image, by its row among those of all splits."""
  for name, split in splits.items():
    if row < len(split.rows):
      return name, int(split.rows['index'][row])
    row -= len(split.rows)
  raise IndexError(row)


def _named(
    groups: Sequence[np.ndarray], splits: Mapping[str, reading.Split]
) -> dict[str, Any]:
  """Groups of images by split and name, those of both splits first.

  Args:
    groups: Numbers of the rows of each group, among those of all splits.
    splits: The splits by name.
  """
  found = [[_place(row, splits) for row in group] for group in groups]
  across = [len({name for name, _ in group}) > 1 for group in found]
  order = np.argsort(~np.array(across, bool), kind='stable')
  leaked = sum(
      name == 'test'
      for group, both in zip(found, across)
      if both
      for name, _ in group
  )
  return {
      'images': sum(len(group) - 1 for group in found),
      'groups': [
          [
              {'split': n, 'index': i, 'name': splits[n].name_of(i)}
              for n, i in found[g]
          ]
          for g in order
      ],
      'held_out': leaked,
  }
