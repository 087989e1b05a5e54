"""Checksums of single views, which are compared whenever a view is read.

The checksum is CRC-32: it finds every change of up to 32 neighbouring bits, and
any other damage except for one case in 2^32. It takes 0.15 s of one core per
GB. A hash of whole files would require reading a whole cache when it is opened.
"""

from collections.abc import Iterator
from typing import Any
import zlib

import numpy as np

from rq_jax.data.feature_cache import layout


def of_views(features: np.ndarray) -> np.ndarray:
  """The checksums of views: float16[n, V, H, W, C] -> uint32[n, V]."""
  count, views = features.shape[:2]
  found = np.empty((count, views), np.uint32)
  for example in range(count):
    for view in range(views):
      found[example, view] = _of(features[example, view])
  return found


class Views:
  """The views of one example, each of which is compared when it is read.

  `views[v]` is float16[H, W, C], a part of the memory map, so views that are
  not used are not read. NumPy converts all of them to float16[V, H, W, C].

  Attributes:
    shape: (V, H, W, C).
    dtype: float16.
  """

  def __init__(self, features: np.ndarray, checksums: np.ndarray, where: str):
    """Takes the views of an example.

    Args:
      features: float16[V, H, W, C].
      checksums: uint32[V].
      where: The file and the row of the example, for errors.
    """
    self._features, self._checksums = features, checksums
    self._where = where
    self.shape, self.dtype = features.shape, features.dtype

  def __len__(self) -> int:
    """Number of views, V."""
    return len(self._features)

  def __getitem__(self, view: int) -> np.ndarray:
    """One view.

    Raises:
      ValueError: If its features are damaged.
    """
    features = self._features[view]
    if _of(features) != self._checksums[view]:
      raise ValueError(
          f'{self._where}, view {view}, is damaged: its features do not have'
          ' the checksum that was stored with them. Restore the file from a'
          f' copy, or encode again with {layout.COMMAND}, which encodes only'
          f' damaged shards. {layout.COMMAND} --verify lists all of them.'
      )
    return features

  def __iter__(self) -> Iterator[np.ndarray]:
    """All views in order."""
    return (self[view] for view in range(len(self)))

  def __array__(
      self, dtype: Any = None, copy: bool | None = None
  ) -> np.ndarray:
    """All views: float16[V, H, W, C]."""
    del copy  # The result is always new.
    return np.array(list(self), dtype or self.dtype)


def _of(features: np.ndarray) -> int:
  return zlib.crc32(np.ascontiguousarray(features).data)
