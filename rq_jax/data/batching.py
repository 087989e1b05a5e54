"""Stacks examples to batches, and reads them in threads or processes."""

from collections.abc import Iterator
import dataclasses
import os
from typing import Any

import numpy as np

# Batches that a process reads ahead. Grain's default is 500; its unit here is
# a whole batch, so the default would fill the memory.
_READ_AHEAD = 8


class Batches(Iterator[dict[str, np.ndarray]]):
  """An iterator over the batches of one process; close it after use."""

  def __init__(self, iterator: Any):
    """Wraps a Grain iterator."""
    self._iterator = iterator

  def __next__(self) -> dict[str, np.ndarray]:
    """The next batch."""
    return next(self._iterator)

  def close(self) -> None:
    """Stops the threads and worker processes."""
    self._iterator.close()


def read(batches: Any, workers: int) -> Batches:
  """Reads a Grain dataset of batches ahead, in threads or processes."""
  import grain

  # The workers already run in parallel, so each of them needs one thread only.
  options = grain.ReadOptions(1, 1) if workers else _read_options()
  batches = batches.to_iter_dataset(options)
  if workers:
    _mark_flags_as_parsed()
    batches = batches.mp_prefetch(
        grain.MultiprocessingOptions(num_workers=workers)
    )
  return Batches(iter(batches))


@dataclasses.dataclass(frozen=True)
class Padded:
  """The first examples, marked as valid, then copies of the last of them."""

  examples: Any
  count: int
  length: int

  def __len__(self) -> int:
    return self.length

  def __getitem__(self, index: int) -> dict[str, Any]:
    last = self.count - 1
    example = self.examples[min(index, last)]
    return {**example, 'valid': np.bool_(index <= last)}


@dataclasses.dataclass(frozen=True)
class LocalBatches:
  """The rows that one process loads of every global batch, batch by batch.

  Stacking here rather than with Grain's `batch` lets each process take a block
  of every global batch, so that joining the blocks in order restores the batch.
  """

  examples: Any
  batch_size: int
  process_index: int
  process_count: int

  def __len__(self) -> int:
    return len(self.examples) // self.batch_size

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    rows = self.batch_size // self.process_count
    start = index * self.batch_size + self.process_index * rows
    block = [self.examples[i] for i in range(start, start + rows)]
    return {name: np.stack([e[name] for e in block]) for name in block[0]}


def _read_options() -> Any:
  """Uses one thread per processor; more would only wait for Python's lock."""
  import grain

  return grain.ReadOptions(
      num_threads=min(_READ_AHEAD, os.cpu_count() or 1),
      prefetch_buffer_size=_READ_AHEAD,
  )


def _mark_flags_as_parsed() -> None:
  """Lets Grain's workers read absl flags, which notebooks never parse."""
  from absl import flags

  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
