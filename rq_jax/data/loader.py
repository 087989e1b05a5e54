"""Batches of examples, in an order that depends only on the seed and the step.

A Grain pipeline over random access. The position of a run is the number of its
next batch: every batch can be made from (source, seed, number), whatever came
before. Processes take contiguous rows of each global batch, *after* the random
transforms, so neither the order nor the augmentation depends on their number,
or on the number of worker processes.
"""

from collections.abc import Callable, Iterator
import dataclasses
import os
from typing import Any

import numpy as np

from rq_jax.config import sections
from rq_jax.config import source_table
from rq_jax.data import sources
from rq_jax.data import transforms

Example = dict[str, Any]
Transform = Callable[[Example, np.random.Generator], Example]

# Batches that a process reads ahead. Grain's default of 500 counts batches
# here, and would fill the memory.
_READ_AHEAD = 8
# In evaluation the transforms see a generator too; there is nothing to vary.
_EVALUATION_SEED = 0


class Batches(Iterator[dict[str, np.ndarray]]):
  """An iterator over the batches of one process. Close it after use."""

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
  """Turns the 'image' of an example into float32[S, S, 3] in [-1, 1].

  Attributes:
    image_size: S.
    crop: See `transforms.train`.
    flip: See `transforms.train`.
    train: Whether to use `transforms.train` or `transforms.evaluate`.
  """

  image_size: int
  crop: str
  flip: bool
  train: bool

  def __call__(self, example: Example, rng: np.random.Generator) -> Example:
    """The example with its image transformed."""
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
  """What an experiment does to each example, or None for features.

  Args:
    data: The experiment's section of that name.
    train: Whether to crop and flip at random, or to take the center.
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
    source: sources.Source,
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

  Every len(source) consecutive examples are a permutation of the source, a new
  one each epoch; epochs run into each other within a batch.

  Args:
    source: The examples.
    transform: Applied to each example, with a generator seeded by `seed` and
      the example's position in the run. Must be picklable for workers.
    batch_size: Examples of the global batch; may exceed len(source).
    seed: Of the order and of the transforms, in [0, 2**32).
    step: Number of the first batch; earlier ones are skipped at no cost.
    workers: Processes that load and transform; 0 uses threads. They import the
      main module of the program, so scripts need `if __name__ == '__main__'`.
    process_index: Which rows to load: the i-th of `process_count` blocks.
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
  # Workers are parallel already.
  options = grain.ReadOptions(1, 1) if workers else _read_options()
  batches = batches[step:].to_iter_dataset(options)
  if workers:
    _mark_flags_as_parsed()
    batches = batches.mp_prefetch(
        grain.MultiprocessingOptions(num_workers=workers)
    )
  return Batches(iter(batches))


def eval_batches(
    source: sources.Source,
    *,
    transform: Transform | None = None,
    batch_size: int,
    count: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> Batches:
  """One pass over the first examples of a source, in order, each once.

  The last batch is filled up with copies of the last example. All processes
  get the same number of batches, ceil(count / batch_size).

  Args:
    source: The examples.
    transform: Applied to each example, with a generator that depends only on
      the example's index.
    batch_size: Examples of the global batch.
    count: How many examples, at most; all of them if None.
    process_index: Which rows to load: the i-th of `process_count` blocks.
    process_count: Processes that share the global batch.

  Returns:
    An iterator over {name: array[batch_size / process_count, ...]} with
    'valid', bool[batch_size / process_count]: false for the copies.

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
  """The first examples, marked as valid, and copies of the last of them."""

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

  Stacking here rather than with Grain's `batch` lets a process take a block of
  each global batch, so that joining the blocks in order restores it.
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
  """One thread per processor: more would wait for Python's lock."""
  import grain

  return grain.ReadOptions(
      num_threads=min(_READ_AHEAD, os.cpu_count() or 1),
      prefetch_buffer_size=_READ_AHEAD,
  )


def _check(
    source: sources.Source,
    batch_size: int,
    process_index: int,
    process_count: int,
) -> None:
  if not len(source):
    raise ValueError(
        'the source is empty; batches need at least one example; change'
        ' --config.data.path'
    )
  if batch_size < 1 or batch_size % process_count:
    raise ValueError(
        f'the batch size is {batch_size}; it must be a positive multiple of'
        f' the number of processes, {process_count}; change'
        ' --config.data.batch_size'
    )
  if not 0 <= process_index < process_count:
    raise ValueError(
        f'process_index is {process_index}; it must be in [0, {process_count})'
    )


def _mark_flags_as_parsed() -> None:
  """Grain's workers read absl flags, which notebooks never parse."""
  from absl import flags

  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
