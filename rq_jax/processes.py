"""What the processes of a program do together."""

import jax
import numpy as np


def wait_for_all(point: str) -> None:
  """Blocks until all processes are at the same point of the program."""
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(point)


def raise_for_all(error: Exception | None) -> None:
  """Raises what the first process found wrong, in all of them.

  Args:
    error: What is wrong; only that of the first process counts.
  """
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    wrong = np.array(error is not None)
    if multihost_utils.broadcast_one_to_all(wrong) and jax.process_index():
      raise ValueError('The first process stopped; it says why.')
  if error is not None:
    raise error
