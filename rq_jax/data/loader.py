"""Batches of examples, in an order that depends only on the seed and the step.

The loader is a Grain pipeline over sources with random access. Every batch
depends only on (source, seed, number of the batch), so a run can be resumed at
any batch. Each process takes contiguous rows of every global batch, and random
transforms depend only on an example's position in the run. So neither the order
nor the augmentation depends on the number of processes or of workers.
"""

from collections.abc import Callable, Iterator
import dataclasses
import os
from typing import Any

import numpy as np

from rq_jax.config import sections
from rq_jax.config import sizes
from rq_jax.config import source_table
from rq_jax.data import sources
from rq_jax.data import transforms

Example = dict[str, Any]
Transform = Callable[[Example, np.random.Generator], Example]

# Batches that a process reads ahead. Grain's default is 500; its unit here is
# a whole batch, so the default would fill the memory.
_READ_AHEAD = 8
# Transforms get a generator in evaluation, too; its seed never changes.
_EVALUATION_SEED = 0


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


@dataclasses.dataclass(frozen=True)
class ImageTransform:
  """Turns the 'image' of an example into float32[Y, X, 3] in [-1, 1].

  Attributes:
    image_size: Size of the result, Y, X; or one number for squares.
    crop: How to crop in training; see `transforms.train`.
    flip: Whether to mirror at random in training; see `transforms.train`.
    train: Whether to use `transforms.train` instead of `transforms.evaluate`.
  """

  image_size: sizes.ImageSize
  crop: str
  flip: bool
  train: bool

  def __call__(self, example: Example, rng: np.random.Generator) -> Example:
    """Returns the example with its image transformed."""
    if self.train:
      image = transforms.train(
          example['image'],
          rng,
          image_size=self.image_size,
          crop=self.crop,
          flip=self.flip,
      )
    else:
      image = transforms.evaluate(example['image'], image_size=self.image_size)
    return {**example, 'image': image}


def image_transform(data: sections.Data, *, train: bool) -> Transform | None:
  """The transform of an experiment's images, or None if it reads features.

  Args:
    data: The section `data` of the experiment.
    train: Whether to crop and flip as in training, instead of taking the
      center.
  """
  if 'image' not in source_table.SOURCES[data.source].provides:
    return None
  return ImageTransform(
      image_size=data.image_size,
      crop=data.crop,
      flip=data.flip,
      train=train,
  )


def train_batches(
    source: sources.Examples,
    *,
    transform: Transform | None = None,
    batch_size: int,
    seed: int,
    step: int = 0,
    workers: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Batches:
  """Endless shuffled batches of a source.

  Each epoch of len(source) examples is a new permutation of the source. A batch
  may hold the end of one epoch and the start of the next.

  Args:
    source: The examples.
    transform: Applied to each example, with a generator seeded by `seed` and
      the example's position in the run. Must be picklable for workers.
    batch_size: Examples of the global batch; may exceed len(source).
    seed: Seed of the order and of the transforms, in [0, 2**32).
    step: Number of the first batch. Skipping earlier batches costs nothing.
    workers: Processes that load and transform; 0 uses threads. Workers import
      the main module of the program, so scripts need
      `if __name__ == '__main__'`.
    process_index: Index i of this process: it loads the i-th of `process_count`
      blocks of rows.
    process_count: Processes that share the global batch.

  Returns:
    An iterator over {name: array[batch_size / process_count, ...]}.

  Raises:
    ValueError: If the source is empty or the processes cannot share the batch.
  """
  import grain

  _check(source, batch_size, process_index, process_count)
  examples = grain.MapDataset.source(source).seed(seed).shuffle().repeat(None)
  if transform is not None:
    examples = examples.random_map(transform)
  batches = grain.MapDataset.source(
      _LocalBatches(examples, batch_size, process_index, process_count)
  )
  # The workers already run in parallel, so each of them needs one thread only.
  options = grain.ReadOptions(1, 1) if workers else _read_options()
  batches = batches[step:].to_iter_dataset(options)
  if workers:
    _mark_flags_as_parsed()
    batches = batches.mp_prefetch(
        grain.MultiprocessingOptions(num_workers=workers)
    )
  return Batches(iter(batches))


def eval_batches(
    source: sources.Examples,
    *,
    transform: Transform | None = None,
    batch_size: int,
    count: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Batches:
  """One pass over the first examples of a source, in order.

  The last batch is filled up with copies of the last example. All processes
  get the same number of batches, ceil(count / batch_size).

  Args:
    source: The examples.
    transform: Applied to each example, with a generator that depends only on
      the example's index.
    batch_size: Examples of the global batch.
    count: Largest number of examples; None for all of them.
    process_index: Index i of this process: it loads the i-th of `process_count`
      blocks of rows.
    process_count: Processes that share the global batch.

  Returns:
    An iterator over {name: array[batch_size / process_count, ...]}. The array
    'valid', bool[batch_size / process_count], is false for the copies.

  Raises:
    ValueError: If the source is empty or the processes cannot share the batch.
  """
  import grain

  _check(source, batch_size, process_index, process_count)
  examples = grain.MapDataset.source(source)
  if transform is not None:
    examples = examples.seed(_EVALUATION_SEED).random_map(transform)
  count = len(source) if count is None else min(count, len(source))
  padded = _Padded(examples, count, -(-count // batch_size) * batch_size)
  batches = grain.MapDataset.source(
      _LocalBatches(padded, batch_size, process_index, process_count)
  )
  return Batches(iter(batches.to_iter_dataset(_read_options())))


@dataclasses.dataclass(frozen=True)
class _Padded:
  """The first examples, marked as valid, then copies of the last of them."""

  examples: Any
  count: int
  length: int

  def __len__(self) -> int:
    return self.length

  def __getitem__(self, index: int) -> Example:
    last = self.count - 1
    example = self.examples[min(index, last)]
    return {**example, 'valid': np.bool_(index <= last)}


@dataclasses.dataclass(frozen=True)
class _LocalBatches:
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
        batch[name][row] = value
    return batch


def _empty_batch(example: Example, rows: int) -> dict[str, np.ndarray]:
  arrays = {name: np.asarray(value) for name, value in example.items()}
  return {n: np.empty((rows, *a.shape), a.dtype) for n, a in arrays.items()}


def _read_options() -> Any:
  """Uses one thread per processor; more would only wait for Python's lock."""
  import grain

  return grain.ReadOptions(
      num_threads=min(_READ_AHEAD, os.cpu_count() or 1),
      prefetch_buffer_size=_READ_AHEAD,
  )


def _check(
    source: sources.Examples,
    batch_size: int,
    process_index: int,
    process_count: int,
) -> None:
  if not len(source):
    raise ValueError(
        'The data source is empty, but batches need at least one example.'
        ' Change --config.data.path.'
    )
  if batch_size < 1 or batch_size % process_count:
    raise ValueError(
        f'config.data.batch_size={batch_size} must be a positive multiple of'
        f' the number of processes, {process_count}. Change'
        ' --config.data.batch_size.'
    )
  if not 0 <= process_index < process_count:
    raise ValueError(
        f'process_index={process_index} must be in [0, {process_count}).'
        ' Change process_index or process_count.'
    )


def _mark_flags_as_parsed() -> None:
  """Lets Grain's workers read absl flags, which notebooks never parse."""
  from absl import flags

  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
