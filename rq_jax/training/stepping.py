"""Takes training steps: skips some that fail, and verifies some."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from rq_jax import compiler_options
from rq_jax.config import sections
from rq_jax.distributed import partitioning
from rq_jax.training import skipped_steps
from rq_jax.training import verification
from rq_jax.typing import Batch, Metrics, PyTree

_META = 'verified_step'


def jitted(
    train_step: Callable[..., tuple[PyTree, Metrics]],
    train: sections.Train,
    *,
    mesh: jax.sharding.Mesh,
    shardings: PyTree,
) -> jax.stages.Wrapped:
  """The step that a run compiles: (task, state, batch) -> (state, metrics).

  It donates the state. If steps may be skipped, it has the counts of
  `skipped_steps.SkippedSteps` as a last argument and a last result.

  Args:
    train_step: (task, state, batch) -> (state, metrics).
    train: The section `train` of the experiment.
    mesh: Mesh of the devices to train on.
    shardings: Shardings of the state.
  """
  outputs = [shardings, partitioning.replicated(mesh)]
  if limit := train.max_skipped:
    train_step = skipped_steps.guarded(train_step, limit)
    outputs.append(partitioning.replicated(mesh))
  return jax.jit(
      train_step,
      donate_argnums=1,
      out_shardings=tuple(outputs),
      compiler_options=compiler_options.convolutions(
          mesh.devices.flat[0].platform
      ),
  )


class Stepper:
  """The compiled training step of a run; all processes must take part.

  Attributes:
    skipped: Counts of skipped steps; None if no step may be skipped.
  """

  def __init__(
      self,
      train_step: Callable[..., tuple[PyTree, Metrics]],
      task: Any,
      train: sections.Train,
      *,
      mesh: jax.sharding.Mesh,
      shardings: PyTree,
      meta: Mapping[str, Any],
  ):
    """Prepares the step; it is compiled when it is first taken.

    Args:
      train_step: (task, state, batch) -> (state, metrics).
      task: Everything that stays fixed over the run.
      train: The section `train` of the experiment.
      mesh: Mesh of the devices to train on.
      shardings: Shardings of the state.
      meta: The meta of the checkpoint that the run starts from; empty if none.
    """
    self._task, self._mesh = task, mesh
    self._verify_every = train.verify_every
    # The newest verified step of the run, also by earlier programs.
    self._verified: int | None = meta.get(_META)
    self.skipped = None
    if limit := train.max_skipped:
      self.skipped = skipped_steps.SkippedSteps(
          limit=limit, mesh=mesh, meta=meta
      )
    self._step_fn = jitted(train_step, train, mesh=mesh, shardings=shardings)

  def take(
      self, step: int, state: PyTree, batch: Batch
  ) -> tuple[PyTree, Metrics]:
    """Takes a step, which donates the state.

    Args:
      step: Number of the step, from 1.
      state: The state to advance.
      batch: The global batch.

    Returns:
      The next state, and the metrics of this step.

    Raises:
      verification.WrongResultError: If the step is verified, and a device
        computed or kept a wrong number.
    """
    counts = () if self.skipped is None else (self.skipped.counts,)

    def take(state):
      return self._step_fn(self._task, state, batch, *counts)

    if self._verify_every and step % self._verify_every == 0:
      results = verification.verified(
          take, state, step=step, mesh=self._mesh, before=self._verified
      )
      self._verified = step
    else:
      results = take(state)
    state, metrics, *counts = results
    if self.skipped is not None:
      (self.skipped.counts,) = counts
    return state, metrics

  def meta(self) -> dict[str, Any]:
    """Skipped and verified steps, as a checkpoint stores them."""
    found = {} if self._verified is None else {_META: self._verified}
    return found | (self.skipped.meta() if self.skipped is not None else {})
