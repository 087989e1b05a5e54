"""Skips a few steps that are not finite, instead of ending the run at once.

A skipped step keeps the parameters, their averages, the codebook and Adam's
moments. But it counts as a step: it uses up its batch and its random numbers,
and the learning rate moves on. So steps, examples and learning rates stay in
line with a run that skipped nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rq_jax.distributed import console
from rq_jax.distributed import partitioning
from rq_jax.training import update
from rq_jax.typing import PyTree

METRIC = 'train/skipped_steps'
_META = 'skipped_steps'


class SkippedSteps:
  """The numbers of skipped steps; they stay on the devices until a log.

  Attributes:
    counts: The number of skipped steps since the last one that was applied, and
      the number in the whole run, int32[] each. `guarded` updates them.
  """

  def __init__(
      self, *, limit: int, mesh: jax.sharding.Mesh, meta: Mapping[str, Any]
  ):
    """Starts to count, or continues the counts of a checkpoint.

    Args:
      limit: Largest number of steps in a row to skip.
      mesh: Mesh of the devices to train on.
      meta: The meta of the checkpoint; empty for a new run.
    """
    self._limit, self._told = limit, False
    counts = tuple(np.int32(x) for x in meta.get(_META, (0, 0)))
    self.counts = jax.device_put(counts, partitioning.replicated(mesh))

  @property
  def in_a_row(self) -> int:
    """Number of steps that were skipped since the last one that was applied."""
    return int(self.counts[0])

  def tell(self) -> None:
    """Reports skipped steps, only once."""
    total = int(self.counts[1])
    if not total or self._told:
      return
    self._told = True
    console.tell(
        f'Warning: {total} of the steps so far were not finite and were not'
        f' applied. The metric {METRIC} counts them. More than'
        f' --config.train.max_skipped={self._limit} in a row end the run.'
    )

  def meta(self) -> dict[str, Any]:
    """The counts, as a checkpoint stores them; nothing if all are zero."""
    counts = [int(count) for count in self.counts]
    return {_META: counts} if any(counts) else {}


def guarded(train_step: Callable[..., Any], limit: int) -> Callable[..., Any]:
  """A training step that skips up to `limit` failures in a row.

  Args:
    train_step: (task, state, batch) -> (state, metrics). If it fails, it
      returns the state before, except for `failed_step`.
    limit: Largest number of steps in a row to skip.

  Returns:
    (task, state, batch, counts) -> (state, metrics, counts), with the counts of
    `SkippedSteps`.
  """

  def step(task, state, batch, counts):
    new, metrics = train_step(task, state, batch)
    row, total = counts
    failed = new.failed_step != update.NO_STEP
    skip = failed & (state.failed_step == update.NO_STEP) & (row < limit)
    kept = jax.tree.map(
        lambda n, p: n if n is p else jnp.where(skip, p, n),
        new,
        _passed_over(new),
    )
    counts = jnp.where(failed, row + skip, 0), total + skip
    return kept, metrics | {METRIC: counts[1]}, counts

  return step


def _passed_over(state: Any) -> Any:
  """The state after a step that is not applied."""
  state = _with_schedules_moved(state)
  return state.replace(
      step=state.step + 1,
      failed_step=jnp.full_like(state.failed_step, update.NO_STEP),
  )


def _with_schedules_moved(tree: PyTree) -> PyTree:
  """Moves the learning rates of all optimizers to the next step."""

  def is_schedule(node):
    return isinstance(node, optax.ScaleByScheduleState)

  return jax.tree.map(
      lambda x: x._replace(count=x.count + 1) if is_schedule(x) else x,
      tree,
      is_leaf=is_schedule,
  )
