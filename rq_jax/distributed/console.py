"""Prints what a user reads while a program runs.

`tell` prints progress and results to the standard output, only in the first
process. `warn` prints warnings to the standard error. Errors are raised as
exceptions.
"""

from collections.abc import Iterator
import contextlib
import sys
import time

from absl import logging

from rq_jax.distributed import progress


def tell(text: str = '') -> None:
  """Prints a line to the standard output, in the first process only.

  Progress bars are hidden while it is printed. If the output cannot be written
  any more, the line is dropped.
  """
  if is_first():
    with progress.aside(), contextlib.suppress(OSError, ValueError):
      print(text, flush=True)


@contextlib.contextmanager
def compiling(what: str, *, first: bool = True) -> Iterator[None]:
  """Announces a call that compiles, and prints how long it took.

  The call returns once its program is compiled and started, so the time does
  not include the run of the program.

  Args:
    what: What is compiled, such as 'the training step'.
    first: Whether this is the first call. Later calls compile nothing, so
      nothing is printed.
  """
  if not first:
    yield
    return
  tell(f'Compiling {what} (once per shape) ...')
  start = time.perf_counter()
  yield
  tell(f'Compiled in {time.perf_counter() - start:.1f} s.')


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
