"""What an evaluation needs of the images that it judges."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np


class ImageSet(Protocol):
  """N images of one size, in an order that never changes."""

  @property
  def labels(self) -> np.ndarray | None:
    """Class of each image, int32[N]; None if they have no classes."""
    ...

  @property
  def num_classes(self) -> int | None:
    """Number of classes; None if it is unknown."""
    ...

  @property
  def class_names(self) -> Sequence[str] | None:
    """Names of the classes by label; None if they are unknown."""
    ...

  def __len__(self) -> int:
    """Number of images."""
    ...

  def size(self) -> tuple[int, int]:
    """Height and width of the first image, and so of all."""
    ...

  def read(self, parts: Iterable[range]) -> Iterator[np.ndarray]:
    """Yields the images of each part, uint8[n, Y, X, 3], in order.

    Each part is a chunk of the job. It may be taken before the images of the
    part before it are yielded.
    """
    ...

  def described(self) -> dict[str, Any]:
    """All values that decide the images, and their 'path' if they have one."""
    ...


def chunks(images: ImageSet, chunk_size: int) -> list[range]:
  """Indices of the images of each chunk; only the last one may be smaller."""
  starts = range(0, len(images), chunk_size)
  return [range(s, min(s + chunk_size, len(images))) for s in starts]


def pick(
    images: ImageSet, indices: Sequence[int], chunk_size: int
) -> list[np.ndarray]:
  """Some images, to show them: uint8[Y, X, 3] each.

  Reads whole chunks, because a model draws whole chunks.

  Args:
    images: The images.
    indices: Which ones; they may repeat.
    chunk_size: Number of images in a chunk of the job.
  """
  parts = chunks(images, chunk_size)
  needed = sorted({index // chunk_size for index in indices})
  found = {}
  for number, pixels in zip(needed, images.read(parts[n] for n in needed)):
    for index in indices:
      if index // chunk_size == number:
        found[index] = pixels[index - parts[number].start]
  return [found[index] for index in indices]
