"""Saves the checkpoints of a run, also if some of them cannot be saved."""

from collections.abc import Callable
from typing import Any

import jax

from rq_jax.checkpoints import runs
from rq_jax.distributed import console
from rq_jax.distributed import processes
from rq_jax.training import workdir as workdir_lib
from rq_jax.typing import PyTree

METRIC = 'train/failed_saves'


class Saver:
  """Starts saves, and decides what happens if one fails.

  All processes must take part. They all decide alike.

  Attributes:
    checkpoints: Checkpoints of the run.
    failures: Number of saves that failed since the start of the program.
  """

  def __init__(
      self,
      checkpoints: runs.Checkpoints,
      *,
      on_error: str,
      held: workdir_lib.Workdir | None = None,
  ):
    """Prepares to save.

    Args:
      checkpoints: Checkpoints of the run.
      on_error: 'stop' raises the error of a save that fails. 'continue' reports
        it, unless the run ends with this save.
      held: The run's folder, if it is locked.
    """
    self.checkpoints, self._on_error, self._held = checkpoints, on_error, held
    self._writing: int | None = None  # The step of the last save.
    self.failures = 0

  def save(
      self, step: int, state: PyTree, meta: dict[str, Any], *, final: bool
  ) -> None:
    """Starts to save a step; `state` may be donated right afterwards.

    Args:
      step: Number of the step.
      state: The state after this step.
      meta: Further facts about the step.
      final: Whether the run ends with this step, so that it must be saved.

    Raises:
      OSError: If the save cannot begin, or the one before has failed.
      locks.LostError: If another program has taken the folder.
    """
    if self._held is not None:
      processes.only_first(self._held.require_held)
    if self._writing is not None:
      self._attempt(self._writing, self._wait, final=False)
    begun = self._attempt(
        step, lambda: self._begin(step, state, meta), final=final
    )
    self._writing = step if begun else None

  def _wait(self) -> None:
    """Waits for the save before; raises its failure."""
    try:
      self.checkpoints.wait()
    except OSError:
      if self._held is not None:
        self._held.require_there()  # Its error names the cause.
      raise

  def _begin(self, step: int, state: PyTree, meta: dict[str, Any]) -> None:
    if self._held is not None:
      processes.only_first(self._held.require_there)
    self.checkpoints.save(step, state, meta)

  def _attempt(
      self, step: int, action: Callable[[], None], *, final: bool
  ) -> bool:
    """Runs a part of a save in all processes; returns whether it succeeded."""
    try:
      processes.together(action)
    except (OSError, processes.OtherFailedError) as error:
      self.checkpoints.discard_failed()
      if final or self._on_error == 'stop':
        raise
      self.failures += 1
      self._report(step, error)
      return False
    return True

  def _report(self, step: int, error: Exception) -> None:
    reason = getattr(error, 'reason', error)
    what = f'the checkpoint of step {step} was not saved: {reason}'
    if jax.process_index() and isinstance(error, OSError):
      console.warn(what)  # Only this process knows the reason.
    console.tell(
        f'Warning: {what} Training continues, because'
        ' --config.train.on_save_error=continue, and tries again at the next'
        ' checkpoint.'
    )
