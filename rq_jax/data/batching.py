"""Stacks examples to batches, and reads them in threads or processes."""

from collections.abc import Iterator
import contextlib
import dataclasses
import os
import re
from typing import Any

import numpy as np

from rq_jax.data import broken_examples
from rq_jax.data import image_files
from rq_jax.data import workers as workers_lib
from rq_jax.distributed import console

# Batches that a process reads ahead. Grain's default is 500; its unit here is
# a whole batch, so the default would fill the memory.
_READ_AHEAD = 8


class Batches(Iterator[dict[str, np.ndarray]]):
  """An iterator over the batches of one process; close it after use.

  If broken examples are replaced, the batches have an array 'replaced', bool,
  and a warning names each broken example once.
  """

  def __init__(self, iterator: Any):
    """Wraps a Grain iterator."""
    self._iterator = iterator
    self._started = False
    self._named: set[str] = set()

  def __next__(self) -> dict[str, np.ndarray]:
    """The next batch.

    Raises:
      BrokenImageError: If an image cannot be read.
      ChildProcessError: If a worker process has died.
    """
    try:
      with (
          contextlib.nullcontext() if self._started else workers_lib.starting()
      ):
        self._started = True
        batch = next(self._iterator)
    except image_files.BrokenImageError as error:
      failure = image_files.BrokenImageError(str(error))
    except RuntimeError as error:
      died = re.search(
          r'Worker process was terminated.*code (-?\d+)', str(error)
      )
      if died is None:
        raise
      failure = ChildProcessError(
          'A process that loads examples ended unexpectedly, with exit code'
          f' {died[1]}. If there is no other message, the memory may have run'
          ' out: lower --config.data.workers or --config.data.batch_size.'
      )
    else:
      return self._reported(batch)
    # A new error, because that of Grain holds on to its queues and traceback.
    self.close()
    raise failure

  def close(self) -> None:
    """Stops the threads and worker processes."""
    self._iterator.close()

  def _reported(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names new broken examples, and marks their replacements."""
    if broken_examples.REASON not in batch:
      return batch
    reasons = batch.pop(broken_examples.REASON).tolist()
    for reason in filter(None, reasons):
      if reason not in self._named:
        self._named.add(reason)
        console.warn(f'Skipped: {reason}')
    batch['replaced'] = np.array([bool(reason) for reason in reasons])
    return batch


def read(batches: Any, workers: int) -> Batches:
  """Reads a Grain dataset of batches ahead, in threads or processes."""
  import grain

  # The workers already run in parallel, so each of them needs one thread only.
  options = grain.ReadOptions(1, 1) if workers else _read_options()
  batches = batches.to_iter_dataset(options)
  if workers:
    batches = workers_lib.prefetch(batches, workers)
  return Batches(iter(batches))


@dataclasses.dataclass(frozen=True)
class Padded:
  """The first examples, marked as valid, then copies of the last of them.

  Replacements of broken examples are not valid.
  """

  examples: Any
  count: int
  length: int

  def __len__(self) -> int:
    return self.length

  def __getitem__(self, index: int) -> dict[str, Any]:
    last = self.count - 1
    example = self.examples[min(index, last)]
    if index > last:
      example = broken_examples.without_reason(example)
      return {**example, 'valid': np.False_}
    replaced = broken_examples.is_replacement(example)
    return {**example, 'valid': np.bool_(not replaced)}


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
    batch: dict[str, np.ndarray] = {}
    for row in range(rows):
      example = self.examples[start + row]
      batch = batch or _empty_batch(example, rows)
      # Each example is copied at once, while it is in the processor's cache.
      # Stacking all of them at the end takes three times as long.
      for name, value in example.items():
        batch[name][row, ...] = value  # Copies the element of a 0-d array.
    return batch


def _empty_batch(example: dict[str, Any], rows: int) -> dict[str, np.ndarray]:
  arrays = {name: np.asarray(value) for name, value in example.items()}
  return {n: np.empty((rows, *a.shape), a.dtype) for n, a in arrays.items()}


def _read_options() -> Any:
  """Uses one thread per processor; more would only wait for Python's lock."""
  import grain

  return grain.ReadOptions(
      num_threads=min(_READ_AHEAD, os.cpu_count() or 1),
      prefetch_buffer_size=_READ_AHEAD,
  )
