"""Stores many names in two arrays, which take less memory than a list."""

import array
from collections.abc import Iterator, Sequence
import dataclasses
import os

import numpy as np

# Names are encoded in parts, because this makes two copies of each.
_PART = 65_536


@dataclasses.dataclass(frozen=True, eq=False)
class Names:
  """A sequence of N names of files or folders.

  Attributes:
    data: The bytes of all names, one after the other, uint8[bytes].
    ends: Where each name ends in `data`, int64[N].
  """

  data: np.ndarray
  ends: np.ndarray

  def __len__(self) -> int:
    """Number of names."""
    return len(self.ends)

  def __getitem__(self, index: int) -> str:
    """A name. Bytes that are not UTF-8 become surrogates, as in `os`."""
    start = self.ends[index - 1] if index else 0
    return os.fsdecode(self.data[start : self.ends[index]].tobytes())

  def __iter__(self) -> Iterator[str]:
    """All names in order."""
    for index in range(len(self)):
      yield self[index]


class Packer:
  """Collects names, and packs them."""

  def __init__(self):
    """Starts without names."""
    self._data = bytearray()
    self._ends = array.array('q')

  def __len__(self) -> int:
    """Number of names so far."""
    return len(self._ends)

  def add(self, names: Sequence[str]) -> None:
    """Appends names."""
    end = len(self._data)
    for start in range(0, len(names), _PART):
      encoded = [os.fsencode(name) for name in names[start : start + _PART]]
      for name in encoded:
        end += len(name)
        self._ends.append(end)
      self._data += b''.join(encoded)

  def pack(self) -> Names:
    """Returns the names; do not call `add` afterwards."""
    return Names(
        data=np.frombuffer(self._data, np.uint8),
        ends=np.frombuffer(self._ends, np.int64),
    )
