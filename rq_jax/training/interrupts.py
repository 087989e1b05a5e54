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
  """Notes SIGTERM and Ctrl-C instead of dying of them; a context manager."""

  def __enter__(self):
    self._noted = False
    self._before = {s: signal.signal(s, self._note) for s in _SIGNALS}
    return self

  def __exit__(self, *_):
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def requested(self, step: int) -> bool:
    """Whether to stop after this step; the same on all processes."""
    if jax.process_count() > 1:
      return multihost_utils.reached_preemption_sync_point(step)
    return self._noted

  def _note(self, *_) -> None:
    self._noted = True
