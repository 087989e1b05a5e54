"""What is computed of images: features of networks, and scores of pairs."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
  """A function of images that gives one row per image and array.

  Attributes:
    name: First part of the names of its arrays, such as 'bicubic_pillow'.
    widths: Numbers in a row of each array that is kept, by the name of the
      array, such as {'pool': 2048}.
    extract: Function of uint8[n, Y, X, 3], or of two such arrays if `of_pairs`
      is true, that returns float[n, width] or float[n] by name.
    described: All values that decide the arrays.
    of_pairs: Whether it compares images with those of the same index in the
      reference.
  """

  name: str
  widths: Mapping[str, int]
  extract: Callable[..., Mapping[str, np.ndarray]]
  described: Mapping[str, Any]
  of_pairs: bool = False

  @property
  def names(self) -> list[str]:
    """Names of its arrays in the files of a job."""
    return [f'{self.name}/{array}' for array in self.widths]

  def __call__(self, *images: np.ndarray) -> dict[str, np.ndarray]:
    """Computes the arrays that are kept, float32[n, width], by full names."""
    arrays = self.extract(*images)
    return {
        f'{self.name}/{name}': np.asarray(arrays[name], np.float32).reshape(
            len(images[0]), width
        )
        for name, width in self.widths.items()
    }


def bytes_per_image(networks: Sequence[Network]) -> int:
  """Bytes of the rows of one image."""
  return sum(4 * sum(network.widths.values()) for network in networks)


def in_batches(
    function: Callable[..., np.ndarray], *images: np.ndarray, size: int
) -> np.ndarray:
  """Calls a function on batches that all have the same size.

  The last batch is filled up with copies of its last image, so that all batches
  run the same program.

  Args:
    function: Function of one or more uint8[size, Y, X, 3] that returns an array
      with one entry per image.
    *images: uint8[n, Y, X, 3] each.
    size: Number of images in a batch.
  """
  results = []
  for start in range(0, len(images[0]), size):
    batches = [pixels[start : start + size] for pixels in images]
    count = len(batches[0])
    padding = [(0, size - count), (0, 0), (0, 0), (0, 0)]
    found = function(*(np.pad(batch, padding, 'edge') for batch in batches))
    results.append(np.asarray(found)[:count])
  return np.concatenate(results)
