"""Reads every image of a dataset once, into one row of facts per image.

A row has about 110 bytes, so the facts of a million images fit in memory. The
images themselves are dropped at once.
"""

from collections.abc import Sequence
from concurrent import futures
import dataclasses
import hashlib
import io
import os
from typing import Any

import numpy as np
from PIL import Image

from rq_jax.config import sections
from rq_jax.data import decoding
from rq_jax.data import file_names
from rq_jax.data import image_files
from rq_jax.data import sources
from rq_jax.data.sources import splits
from rq_jax.distributed import progress

THUMBNAIL = 8  # Side in pixels of the grey thumbnail in a row.
ROW = np.dtype(
    [
        ('index', np.int64),  # In its split.
        ('label', np.int32),
        ('height', np.int32),
        ('width', np.int32),
        ('digest', np.uint64),  # Hash of size and pixels.
        ('thumbnail', np.uint8, (THUMBNAIL, THUMBNAIL)),
        ('grey', np.bool_),  # Red, green and blue are equal.
        ('alpha', np.bool_),  # The file stores transparency.
        ('rotated', np.bool_),  # The file stores a rotation (EXIF).
    ]
)
_AT_ONCE = 256  # Images between two updates of the progress bar.
_ALPHA = ('LA', 'La', 'PA', 'RGBA', 'RGBa')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Broken:
  """An image that cannot be read.

  Attributes:
    index: Its index in the split.
    reason: The error, which names the file.
  """

  index: int
  reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
  """A split of a dataset, and what was read of it.

  Attributes:
    name: 'train' or 'test'.
    source: All examples of the split.
    rows: Facts, ROW[N], of the images that could be read.
    broken: The images that could not be read.
  """

  name: str
  source: sources.Source
  rows: np.ndarray
  broken: Sequence[Broken]

  @property
  def num_read(self) -> int:
    """Number of images that were read, including broken ones."""
    return len(self.rows) + len(self.broken)

  def name_of(self, index: int) -> str:
    """The file of an example; without files, the split and the index."""
    if isinstance(self.source, sources.ImageFiles):
      return self.source.name(index)
    return f'{self.name} {index}'


def read(
    data: sections.Data, *, num_images: int | None = None
) -> dict[str, Split]:
  """Reads the images of both splits, and shows a progress bar.

  Args:
    data: The section `data` of an experiment.
    num_images: Largest number of images that are read of each split. They are
      evenly spaced. None reads all.

  Raises:
    ValueError: If the source does not exist or has no images.
  """
  opened = {name: sources.open_source(data, name) for name in splits.SPLITS}
  chosen = {n: spaced(len(s), num_images) for n, s in opened.items()}
  total = sum(map(len, chosen.values()))
  found = {}
  with progress.bar(total=total, unit='image', desc='inspect') as bar:
    for name, source in opened.items():
      rows, broken = _examine(source, chosen[name], bar)
      found[name] = Split(name=name, source=source, rows=rows, broken=broken)
  return found


def spaced(count: int, most: int | None) -> np.ndarray:
  """At most `most` evenly spaced indices below `count`, int64[n]."""
  if most is None or most >= count:
    return np.arange(count)
  return np.arange(most) * count // most


def _examine(
    source: sources.Source, indices: np.ndarray, bar: Any
) -> tuple[np.ndarray, list[Broken]]:
  rows, broken = np.zeros(len(indices), ROW), []
  filled = 0
  with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for start in range(0, len(indices), _AT_ONCE):
      part = indices[start : start + _AT_ONCE]
      for found in pool.map(lambda i: _facts(source, int(i)), part):
        if isinstance(found, Broken):
          broken.append(found)
        else:
          rows[filled] = found
          filled += 1
      bar.update(len(part))
  return rows[:filled], broken


def _facts(source: sources.Source, index: int) -> tuple | Broken:
  """The row of an image, or why it has none."""
  try:
    example = source[index]
  except image_files.BrokenImageError as error:
    return Broken(index=index, reason=file_names.shown(str(error)))
  pixels = np.ascontiguousarray(example['image'])
  height, width = pixels.shape[:2]
  content = hashlib.blake2b(f'{height} {width} '.encode(), digest_size=8)
  content.update(pixels.data)
  small = Image.fromarray(pixels).convert('L')
  small = small.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
  return (
      index,
      int(example['label']),
      height,
      width,
      int.from_bytes(content.digest()),
      np.asarray(small),
      _is_grey(pixels),
      *_header(source, index),
  )


def _is_grey(pixels: np.ndarray) -> bool:
  red, green, blue = np.moveaxis(pixels, -1, 0)
  return bool(np.array_equal(red, green) and np.array_equal(red, blue))


def _header(source: sources.Source, index: int) -> tuple[bool, bool]:
  """Whether a file, which can be read, stores transparency and a rotation."""
  if not isinstance(source, sources.ImageFiles):
    return False, False
  content = io.BytesIO(source.content(index))
  with Image.open(content, formats=image_files.FORMATS) as image:
    alpha = image.mode in _ALPHA or 'transparency' in image.info
    # Asking a PNG file for EXIF that it does not announce would decode it.
    if image.format == 'PNG' and 'exif' not in image.info:
      return alpha, False
    return alpha, decoding.orientation(image) != 1
