"""Batches of examples, in an order that depends only on the seed and the step.

The loader is a Grain pipeline over sources with random access. Every batch
depends only on (source, seed, number of the batch), so a run can be resumed at
any batch. Each process takes contiguous rows of every global batch, and random
transforms depend only on an example's position in the run. So neither the order
nor the augmentation depends on the number of processes or of workers.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

import numpy as np

from rq_jax.config import sections
from rq_jax.config import sizes
from rq_jax.config import source_table
from rq_jax.data import batching
from rq_jax.data import broken_examples
from rq_jax.data import sources
from rq_jax.data import transforms

Example = dict[str, Any]
Transform = Callable[[Example, np.random.Generator], Example]

# Transforms get a generator in evaluation, too; its seed never changes.
_EVALUATION_SEED = 0


@dataclasses.dataclass(frozen=True)
class ImageTransform:
  """Turns the 'image' of an example into float32[Y, X, 3] in [-1, 1].

  Attributes:
    image_size: Size of the result, Y, X; or one number for squares.
    crop: How to crop in training; see `transforms.train`.
    flip: Whether to mirror at random in training; see `transforms.train`.
    decoder: Library that resizes in training; see `transforms.train`.
    train: Whether to use `transforms.train` instead of `transforms.evaluate`.
  """

  image_size: sizes.ImageSize
  crop: str
  flip: bool
  decoder: str
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
          decoder=self.decoder,
      )
    else:
      image = transforms.evaluate(example['image'], image_size=self.image_size)
    return {**example, 'image': image}


@dataclasses.dataclass(frozen=True)
class ViewTransform:
  """Picks one view of the 'features' of an example, as float32[H, W, C].

  Attributes:
    train: Whether to pick any view at random instead of the first one.
  """

  train: bool

  def __call__(self, example: Example, rng: np.random.Generator) -> Example:
    """Returns the example with one view of its features, float16[V, ...]."""
    views = example['features']
    chosen = views[rng.integers(len(views)) if self.train else 0]
    return {**example, 'features': chosen.astype(np.float32)}


def image_transform(data: sections.Data, *, train: bool) -> Transform:
  """The transform of an experiment's images, or of their cached features.

  Args:
    data: The section `data` of the experiment.
    train: True crops and flips images as in training, or picks a random view of
      the features. False takes the center of an image, or the first view.
  """
  if 'image' not in source_table.SOURCES[data.source].provides:
    return ViewTransform(train=train)
  return ImageTransform(
      image_size=data.image_size,
      crop=data.crop,
      flip=data.flip,
      decoder=data.decoder,
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
    max_errors: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> batching.Batches:
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
    max_errors: Replaces broken examples, see `broken_examples.Replaced`, and
      adds an array 'replaced' to the batches. None raises their errors instead.
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
  examples = grain.MapDataset.source(
      broken_examples.replaced(source, max_errors)
  )
  examples = _in_order(examples, seed)
  if transform is not None:
    examples = examples.random_map(transform)
  batches = grain.MapDataset.source(
      batching.LocalBatches(examples, batch_size, process_index, process_count)
  )
  return batching.read(batches[step:], workers)


def train_indices(
    length: int, *, batch_size: int, seed: int, step: int
) -> list[int]:
  """Indices of the examples in a batch of `train_batches`.

  Args:
    length: Number of examples of the source.
    batch_size: Examples of the global batch.
    seed: Seed of the order.
    step: Number of the batch, from 0.
  """
  import grain

  indices = _in_order(grain.MapDataset.source(range(length)), seed)
  start = step * batch_size
  return [int(indices[i]) for i in range(start, start + batch_size)]


def _in_order(examples: Any, seed: int) -> Any:
  """All epochs of a Grain dataset, each in its own order."""
  return examples.seed(seed).shuffle().repeat(None)


def eval_batches(
    source: sources.Examples,
    *,
    transform: Transform | None = None,
    batch_size: int,
    count: int | None = None,
    max_errors: int | None = None,
    process_index: int = 0,
    process_count: int = 1,
) -> batching.Batches:
  """One pass over the first examples of a source, in order.

  The last batch is filled up with copies of the last example. All processes
  get the same number of batches, ceil(count / batch_size).

  Args:
    source: The examples.
    transform: Applied to each example, with a generator that depends only on
      the example's index.
    batch_size: Examples of the global batch.
    count: Largest number of examples; None for all of them.
    max_errors: Replaces broken examples, as in `train_batches`. Replacements
      are not valid.
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
  examples = grain.MapDataset.source(
      broken_examples.replaced(source, max_errors)
  )
  if transform is not None:
    examples = examples.seed(_EVALUATION_SEED).random_map(transform)
  count = len(source) if count is None else min(count, len(source))
  padded = batching.Padded(
      examples, count, -(-count // batch_size) * batch_size
  )
  batches = grain.MapDataset.source(
      batching.LocalBatches(padded, batch_size, process_index, process_count)
  )
  return batching.read(batches, workers=0)


def batches_of_each(
    parts: Sequence[tuple[sources.Examples, int]], *, workers: int = 0
) -> batching.Batches:
  """One pass over each of several parts, in order; no batch mixes two parts.

  The last batch of each part is filled up with copies of its last example.

  Args:
    parts: The examples of each part, which need no transform, and the number of
      examples per batch.
    workers: Processes that load examples; 0 uses threads. They do not change
      the order; see `train_batches`.

  Returns:
    An iterator over {name: array[examples per batch, ...]}. The array 'valid'
    is false for the copies.

  Raises:
    ValueError: If a part is empty.
  """
  import grain

  batches = []
  for part, size in parts:
    _check(part, size, process_index=0, process_count=1)
    padded = batching.Padded(part, len(part), -(-len(part) // size) * size)
    batches.append(
        grain.MapDataset.source(batching.LocalBatches(padded, size, 0, 1))
    )
  return batching.read(grain.MapDataset.concatenate(batches), workers)


def error_limit(data: sections.Data) -> int | None:
  """The argument `max_errors` of the functions above, for an experiment."""
  return data.max_errors if data.on_error == 'skip' else None


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
