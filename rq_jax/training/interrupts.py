"""Leaves a run in good order when it is told to stop."""

import signal

import jax
from jax.experimental import multihost_utils

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(Exception):
  """The run was told to stop, and has saved what it needs to go on.

  Attributes:
    step: The step that was saved.
  """

  def __init__(self, step: int):
    super().__init__(
        f'Interrupted, and saved at step {step}; the same command resumes it.'
    )
    self.step = step


class Interrupts:
  """Notes SIGTERM and Ctrl-C instead of dying of them; a context manager.

  Where several processes step together, JAX itself notes SIGTERM, which any of
  them may get, and finds a step that all can stop after; Ctrl-C ends the
  process.
  """

  def __init__(self, *, alone: bool = False):
    """Prepares to note signals.

    Args:
      alone: Whether this process may stop after another step than others.
    """
    self._together = jax.process_count() > 1 and not alone

  def __enter__(self):
    self._noted = False
    # JAX would not hear of a signal that is handled here.
    signals = () if self._together else _SIGNALS
    self._before = {s: signal.signal(s, self._note) for s in signals}
    return self

  def __exit__(self, *_):
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def requested(self, step: int) -> bool:
    """Whether to stop after this step; all that step together agree."""
    if self._together:
      return multihost_utils.reached_preemption_sync_point(step)
    return self._noted

  def _note(self, *_) -> None:
    self._noted = True
