"""What people read while a program runs; only the first process talks to them.

Progress and results go to the standard output (`tell`), warnings to the
standard error (`warn`), errors become exceptions.
"""

import contextlib
import sys

from absl import logging

from rq_jax.distributed import progress


def tell(text: str = '') -> None:
  """Prints a line to the standard output, in the first process only.

  Nothing happens if nobody reads it any more.
  """
  if is_first():
    with contextlib.suppress(OSError, ValueError):
      print(text, flush=True)


def warn(text: str) -> None:
  """Logs a warning to the standard error, in every process that meets it.

  A progress bar makes room for it.
  """
  with progress.aside():
    logging.warning('%s', text)


def is_first() -> bool:
  """Whether this is the first process, or the only one.

  Never starts a JAX backend: before `processes.initialize`, it would be of one
  process only.
  """
  jax = sys.modules.get('jax')
  if jax is None or not jax.distributed.is_initialized():
    return True
  return jax.process_index() == 0
