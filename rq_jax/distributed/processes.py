"""What the processes of a program do together."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def wait_for_all(point: str) -> None:
  """Blocks until all processes are at the same point of the program."""
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(point)


def only_first(action: Callable[[], Any]) -> None:
  """Runs something in the first process; if it fails there, it fails in all.

  Args:
    action: What to run.

  Raises:
    ValueError: In the other processes, if the action failed in the first. In
      the first process, the action's own error is raised.
  """
  error = None
  try:
    if jax.process_index() == 0:
      action()
  except Exception as failure:  # The others must hear of any.
    error = failure
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    wrong = np.array(error is not None)
    if multihost_utils.broadcast_one_to_all(wrong) and jax.process_index():
      raise ValueError('The first process has stopped; its message says why.')
  if error is not None:
    raise error
