"""Counts the examples that could not be read, and stops at a limit.

Each epoch visits each example once. So the replaced examples of an epoch are
different ones, and counting them needs no names. The counts stay on the devices
until metrics are logged; no step waits for them.
"""

from collections.abc import Mapping
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.distributed import partitioning
from rq_jax.typing import Batch, Metrics

METRIC = 'data/skipped'
_META = 'skipped'


class Skipped:
  """The number of broken examples of a run; all processes must take part."""

  def __init__(
      self,
      *,
      limit: int | None,
      num_examples: int,
      batch_size: int,
      mesh: jax.sharding.Mesh,
      meta: Mapping[str, Any],
  ):
    """Starts to count, or continues the count of a checkpoint.

    Args:
      limit: Largest number of broken examples per epoch; None if broken
        examples are not replaced. Nothing is counted then.
      num_examples: Number of examples per epoch.
      batch_size: Number of examples per step.
      mesh: Mesh that splits the batches.
      meta: The meta of the checkpoint; empty for a new run.
    """
    self._limit, self._length = limit, num_examples
    self._batch_size = batch_size
    # The number in this epoch so far, and the largest of any epoch.
    self._counts = tuple(np.int32(x) for x in meta.get(_META, (0, 0)))
    replicated = functools.partial(
        jax.jit, out_shardings=partitioning.replicated(mesh)
    )
    self._add = replicated(functools.partial(_add, length=num_examples))
    self._sum = replicated(jnp.sum)

  def counted(self, step: int, batch: Batch) -> tuple[Batch, Metrics]:
    """Counts the replaced examples of a batch; returns the rest, and metrics.

    Args:
      step: Number of the step that reads the batch, from 1.
      batch: The global batch, with 'replaced', bool[B], if there is a limit.
    """
    if self._limit is None:
      return batch, {}
    rest, replaced = _divided(batch)
    start = (step - 1) * self._batch_size % self._length
    self._counts = self._add(self._counts, replaced, np.int32(start))
    return rest, {METRIC: self._counts[1]}

  def summed(self, batch: Batch) -> tuple[Batch, Metrics]:
    """As `counted`, for evaluation: the metric is the number in this batch."""
    if self._limit is None:
      return batch, {}
    rest, replaced = _divided(batch)
    return rest, {'skipped': self._sum(replaced)}

  def check(self) -> None:
    """Raises a ValueError if an epoch had too many broken examples."""
    if self._limit is None or int(self._counts[1]) <= self._limit:
      return
    raise ValueError(
        f'{int(self._counts[1])} examples of one epoch could not be read, which'
        f' is more than --config.data.max_errors={self._limit}. The warnings'
        ' above name them. Repair them, or raise --config.data.max_errors.'
    )

  def meta(self) -> dict[str, Any]:
    """The counts, as a checkpoint stores them."""
    if self._limit is None:
      return {}
    return {_META: [int(count) for count in self._counts]}


def _divided(batch: Batch) -> tuple[Batch, jax.Array]:
  """The batch without 'replaced', and 'replaced'."""
  rest = {name: x for name, x in batch.items() if name != 'replaced'}
  return rest, batch['replaced']


def _add(
    counts: tuple[jax.Array, jax.Array],
    replaced: jax.Array,
    start: jax.Array,
    *,
    length: int,
) -> tuple[jax.Array, jax.Array]:
  """Adds a batch that starts with example `start` of an epoch to the counts.

  Args:
    counts: int32[] each, see `Skipped`.
    replaced: bool[B]. The batch may hold examples of several epochs.
    start: int32[], in [0, length).
    length: Number of examples per epoch.
  """
  size = len(replaced)
  epochs = (start + jnp.arange(size)) // length  # [B], counted from this one.
  by_epoch = jnp.zeros((length - 1 + size) // length + 1, jnp.int32)
  by_epoch = by_epoch.at[0].add(counts[0]).at[epochs].add(replaced)
  current = by_epoch[(start + size) // length]
  return current, jnp.maximum(counts[1], jnp.max(by_epoch))
