"""Rows of features or logits: checks, and blocks of a fixed number of rows.

Sums in float64 depend on the order and the grouping of the additions. Blocks
are counted from the first row, so accumulators that add block by block get
identical bits however the rows were divided when they arrived.
"""

from collections.abc import Iterator

import numpy as np

# Features that metrics may hold in memory: 0.8 GB as float32[100_000, 2048].
MAX_FEATURES = 100_000


def check(rows: np.ndarray, name: str, *, first: int = 0) -> np.ndarray:
  """Returns finite rows, unchanged: float[N, D].

  Args:
    rows: The array to check.
    name: What the rows are, for the message.
    first: Index of the first row among all images, for the message.

  Raises:
    ValueError: If this is not a matrix of floats, or if a row holds NaN or
      infinity.
  """
  rows = np.asarray(rows)
  if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.floating):
    raise ValueError(
        f'The {name} are {rows.dtype}{list(rows.shape)}, but one row of floats '
        'per image is needed: float[N, D].'
    )
  finite = np.isfinite(rows).all(axis=1)
  if not finite.all():
    raise ValueError(
        f'The {name} of image {first + finite.argmin()} hold NaN or infinity. '
        'Check the image and the weights of the network; no metric is computed.'
    )
  return rows


def check_number(rows: np.ndarray, name: str) -> None:
  """Refuses more rows than a metric may hold in memory.

  Raises:
    ValueError: If there are more than `MAX_FEATURES` rows.
  """
  if len(rows) > MAX_FEATURES:
    raise ValueError(
        f'{len(rows):,} {name} are given, but this metric holds all of them in '
        f'memory, at most {MAX_FEATURES:,}. Evaluate fewer images.'
    )


class Blocks:
  """Divides a stream of rows into float64 blocks of a fixed number of rows.

  Memory holds one block.

  Attributes:
    count: Number of rows so far.
    block: Number of complete blocks so far.
  """

  def __init__(self, size: int, name: str):
    self.count = 0
    self.block = 0
    self._size = size
    self._name = name
    self._buffer: np.ndarray | None = None

  def add(self, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yields every block that these rows complete: float64[size, D].

    A block is overwritten by the next one. Iterate to the end; otherwise, rows
    are lost.

    Raises:
      ValueError: If a row holds NaN or infinity, or has another length than the
        rows before. No row of the call has then been added.
    """
    rows = check(rows, self._name, first=self.count)
    if self._buffer is None:
      self._buffer = np.empty((self._size, rows.shape[1]))
    if rows.shape[1] != self._buffer.shape[1]:
      raise ValueError(
          f'The {self._name} have {rows.shape[1]} numbers per image, but those '
          f'before have {self._buffer.shape[1]}. All must come from the same '
          'network.'
      )
    while len(rows):
      filled = self.waiting
      taken = rows[: self._size - filled]
      self._buffer[filled : filled + len(taken)] = taken
      self.count += len(taken)
      rows = rows[len(taken) :]
      if not self.waiting:
        yield self._buffer
        self.block += 1

  @property
  def waiting(self) -> int:
    """Number of rows of the last, incomplete block."""
    return self.count % self._size

  def rest(self) -> np.ndarray:
    """The rows of the last, incomplete block: float64[fewer than size, D].

    Raises:
      ValueError: If no rows were added.
    """
    if self._buffer is None or not self.count:
      raise ValueError(f'No {self._name} were added: there are no images.')
    return self._buffer[: self.waiting]
