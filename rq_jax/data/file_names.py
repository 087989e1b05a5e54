"""Names of files: many of them in two arrays, and how messages show them.

Names may hold bytes that are not UTF-8. As in `os`, such bytes are surrogates
in a `str`, so that the name still opens the file.
"""

import array
from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import hashlib
import os

from etils import epath
import numpy as np

# Names are handled in parts, because each needs a multiple of its memory
# meanwhile.
_PART = 65_536


@dataclasses.dataclass(frozen=True, eq=False)
class Packed:
  """A sequence of N names: ten million take megabytes, not gigabytes.

  Attributes:
    data: The bytes of all names, one after the other, uint8[bytes].
    ends: Where each name ends in `data`, int64[N].
  """

  data: np.ndarray
  ends: np.ndarray

  def arrays(self, name: str) -> dict[str, np.ndarray]:
    """The two arrays, to store them: `name`, and `name` with '_ends'."""
    return {name: self.data, f'{name}_ends': self.ends}

  def listing(self, *others: np.ndarray) -> str:
    """SHA-256 of the names, and of other arrays about the same files."""
    digest = hashlib.sha256()
    for values in (self.data, self.ends, *others):
      digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()

  def take(self, indices: np.ndarray) -> 'Packed':
    """Some of the names, by their indices, int[n]."""
    parts = range(0, len(indices), _PART)
    return join([self._take(indices[i : i + _PART]) for i in parts])

  def _take(self, indices: np.ndarray) -> 'Packed':
    starts = np.where(indices > 0, self.ends[indices - 1], 0)
    lengths = self.ends[indices] - starts
    ends = np.cumsum(lengths, dtype=np.int64)
    # How far each byte moves.
    shifts = np.repeat(starts - (ends - lengths), lengths)
    return Packed(self.data[np.arange(len(shifts)) + shifts], ends)

  def __len__(self) -> int:
    """Number of names."""
    return len(self.ends)

  def __getitem__(self, index: int) -> str:
    """A name."""
    if not 0 <= index < len(self.ends):
      raise IndexError(f'There are {len(self.ends)} names, but no {index}.')
    start = self.ends[index - 1] if index else 0
    return os.fsdecode(self.data[start : self.ends[index]].tobytes())

  def __iter__(self) -> Iterator[str]:
    """All names in order."""
    return (self[index] for index in range(len(self)))


class Packer:
  """Collects names, and packs them."""

  def __init__(self):
    """Starts without names."""
    self._data = bytearray()
    self._ends = array.array('q')

  def __len__(self) -> int:
    """Number of names so far."""
    return len(self._ends)

  def add(self, names: Sequence[str | bytes]) -> None:
    """Appends names."""
    end = len(self._data)
    for start in range(0, len(names), _PART):
      encoded = [os.fsencode(name) for name in names[start : start + _PART]]
      for name in encoded:
        end += len(name)
        self._ends.append(end)
      self._data += b''.join(encoded)

  def pack(self) -> Packed:
    """The names so far; `add` must not be called any more."""
    return Packed(
        np.frombuffer(self._data, np.uint8),
        np.frombuffer(self._ends, np.int64),
    )


def pack(names: Sequence[str]) -> Packed:
  """Packs names."""
  packer = Packer()
  packer.add(names)
  return packer.pack()


def join(several: Sequence[Packed]) -> Packed:
  """The names of several sequences, in order."""
  starts = np.cumsum([0, *(len(names.data) for names in several)])
  ends = [names.ends + start for names, start in zip(several, starts)]
  return Packed(
      np.concatenate([np.zeros(0, np.uint8), *(n.data for n in several)]),
      np.concatenate([np.zeros(0, np.int64), *ends]),
  )


def restored(arrays: Mapping[str, np.ndarray], name: str) -> Packed:
  """The names whose `arrays(name)` are among the given arrays."""
  return Packed(arrays[name], arrays[f'{name}_ends'])


def shown(name: epath.PathLike) -> str:
  """A name for a message: escapes all but printable characters."""
  return ''.join(map(_shown_character, os.fspath(name)))


def _shown_character(character: str) -> str:
  if character.isprintable():
    return character
  code = ord(character)
  if 0xDC80 <= code <= 0xDCFF:  # Stands for a byte that is not UTF-8.
    return f'\\x{code - 0xDC00:02x}'
  return character.encode('unicode_escape').decode()
