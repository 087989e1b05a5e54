"""Computes the features of chunks of images, and reads them in order."""

from collections.abc import Iterator, Sequence
import dataclasses
import functools
import itertools

from etils import epath
import numpy as np

from rq_jax.evaluation import rows as feature_rows
from rq_jax.jobs import chunks
from rq_jax.jobs.evaluate import chunk_files
from rq_jax.jobs.evaluate import image_sets
from rq_jax.jobs.evaluate import networks as networks_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
  """One set of images of a job, and its chunks.

  Attributes:
    images: The images.
    networks: What is computed of them.
    others: The images that those networks compare them with that take pairs.
    chunk_size: Number of images in a chunk; only the last may have fewer.
    folder: Folder of the job.
    first_chunk: Number of its first chunk in the job.
  """

  images: image_sets.ImageSet
  networks: Sequence[networks_lib.Network]
  others: image_sets.ImageSet | None
  chunk_size: int
  folder: epath.Path
  first_chunk: int

  @functools.cached_property
  def sizes(self) -> list[int]:
    """Number of images in each chunk."""
    return [
        len(part) for part in image_sets.chunks(self.images, self.chunk_size)
    ]

  @property
  def bytes_per_image(self) -> int:
    """Bytes of the rows of one image."""
    return networks_lib.bytes_per_image(self.networks)

  def work(self, numbers: Iterator[int], check: chunks.Check) -> Iterator[int]:
    """Writes the files of chunks; yields the number of images in each.

    Args:
      numbers: Numbers of the chunks in the job.
      check: Called before each chunk; see `chunks.Check`.
    """
    parts = image_sets.chunks(self.images, self.chunk_size)
    ahead: list[int] = []

    def ranges() -> Iterator[range]:
      for number in numbers:
        ahead.append(number)
        yield parts[number - self.first_chunk]

    own, compared = itertools.tee(ranges())
    others = itertools.repeat(np.zeros(0))  # Nothing reads them.
    if self.others is not None:
      others = self.others.read(compared)
    for images, reference in zip(self.images.read(own), others):
      check()
      number = ahead.pop(0)
      first = parts[number - self.first_chunk].start
      arrays = self._computed(images, reference, first)
      chunk_files.write(chunk_files.path(self.folder, number), arrays)
      yield len(images)

  def _computed(
      self, images: np.ndarray, others: np.ndarray, first: int
  ) -> dict[str, np.ndarray]:
    """The arrays of a chunk, whose first image has the index `first`.

    Raises:
      ValueError: If a feature is not finite; the message names the image.
    """
    found = {}
    for network in self.networks:
      if network.of_pairs:  # Equal images have an infinite PSNR.
        found |= network(images, others)
        continue
      for name, rows in network(images).items():
        found[name] = feature_rows.check(rows, name, first=first)
    return found

  def rows(self, name: str) -> Iterator[np.ndarray]:
    """Yields the rows of an array, float32[n, width], chunk by chunk."""
    for number in range(len(self.sizes)):
      file = chunk_files.path(self.folder, self.first_chunk + number)
      arrays = chunk_files.read(file)
      if name not in arrays or len(arrays[name]) != self.sizes[number]:
        raise ValueError(
            f'{file} does not hold the rows {name} of {self.sizes[number]}'
            ' images. Remove it, and run the same command again.'
        )
      yield arrays[name]

  def first(self, name: str, count: int) -> np.ndarray:
    """The first rows of an array, at most `count`: float32[n, width]."""
    found, left = [], count
    for rows in self.rows(name):
      found.append(rows[:left])
      left -= len(found[-1])
      if not left:
        break
    return np.concatenate(found)

  def together(self, name: str) -> np.ndarray:
    """All rows of an array, float32[N, width], in memory."""
    return np.concatenate(list(self.rows(name)))
