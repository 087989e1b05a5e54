"""Prints what a user reads while a program runs.

`tell` prints progress and results to the standard output, only in the first
process. `warn` prints warnings to the standard error. Errors are raised as
exceptions.
"""

import contextlib
import sys

from absl import logging

from rq_jax.distributed import progress


def tell(text: str = '') -> None:
  """Prints a line to the standard output, in the first process only.

  If the output cannot be written any more, the line is dropped.
  """
  if is_first():
    with contextlib.suppress(OSError, ValueError):
      print(text, flush=True)


def warn(text: str) -> None:
  """Logs a warning to the standard error, in every process that calls it.

  Progress bars are hidden while it is written.
  """
  with progress.aside():
    logging.warning('%s', text)


def is_first() -> bool:
  """Whether this is the first process, or the only one.

  It never starts a JAX backend: a backend that starts before
  `processes.initialize` knows only one process.
  """
  jax = sys.modules.get('jax')
  if jax is None or not jax.distributed.is_initialized():
    return True
  return jax.process_index() == 0
