"""Starts the worker processes of the loader, and makes sure that they end."""

from collections.abc import Iterator
import contextlib
import multiprocessing
from multiprocessing import resource_tracker
import os
import signal
import threading
from typing import Any

# Signals that stop a run. A terminal and Slurm send them to all processes.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
_QUIET = 'ignore:resource_tracker:UserWarning'


def prefetch(batches: Any, count: int) -> Any:
  """Reads a Grain dataset ahead in `count` processes.

  The workers start with the first batch, which must be read within `starting`.
  """
  import grain

  _mark_flags_as_parsed()
  _start_tracker()
  return batches.mp_prefetch(
      grain.MultiprocessingOptions(num_workers=count),
      worker_init_fn=_end_with_parent,
  )


@contextlib.contextmanager
def starting() -> Iterator[None]:
  """Keeps signals from workers that start: this process decides when to stop.

  New threads and processes inherit the blocked signals. Other threads of this
  process still receive them, and Python handles them in the main thread.
  """
  before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent(*_: int) -> None:
  """Makes a worker exit when its parent has ended, even by SIGKILL."""
  parent = multiprocessing.parent_process()
  assert parent is not None  # This runs in workers.

  def wait() -> None:
    parent.join()
    os._exit(1)

  threading.Thread(target=wait, daemon=True).start()


def _start_tracker() -> None:
  """Starts the process that removes shared memory after this process has ended.

  Its warning about such memory is turned off: a process that exits at once
  always leaves some.
  """
  before = os.environ.get('PYTHONWARNINGS')
  os.environ['PYTHONWARNINGS'] = ','.join(filter(None, [before, _QUIET]))
  try:
    resource_tracker.ensure_running()
  finally:
    if before is None:
      del os.environ['PYTHONWARNINGS']
    else:
      os.environ['PYTHONWARNINGS'] = before


def _mark_flags_as_parsed() -> None:
  """Lets Grain's workers read absl flags, which notebooks never parse."""
  from absl import flags

  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
