"""Ends a run cleanly when a signal asks it to stop.

Four signals do: SIGTERM, Ctrl-C (SIGINT), SIGUSR1, by which Slurm can
warn of the end of a job, and SIGHUP, when a terminal goes away. As long as
there is nothing to save, the process leaves at once (`leaving_at_once`); later
it saves first (`Interrupts`). A signal that was ignored when the program
started, as `nohup` ignores SIGHUP, stays ignored.
"""

from collections.abc import Callable, Iterator
import contextlib
import os
import signal
import sys
import threading
from typing import Any, NoReturn

from rq_jax.distributed import locks

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
_STILL = b'\nStill finishing; please wait. SIGKILL would lose the rest.\n'


class Interrupted(Exception):
  """A signal stopped the work, which has saved what it needs to go on."""

  def __init__(self, saved: str):
    """Says what was saved, such as 'saved at step 12', and how to go on."""
    super().__init__(
        f'Interrupted: {saved}; the same command goes on from there.'
    )


@contextlib.contextmanager
def leaving_at_once(sentence: str, code: int) -> Iterator[None]:
  """Ends the process at the first signal, while there is nothing to save.

  Python runs signal handlers between two of its own instructions, which may be
  minutes apart while a model compiles. So a thread waits for the signals, too.
  Handlers that are set meanwhile, as by `Interrupts`, come first.

  Args:
    sentence: What to print to the standard error.
    code: The exit code.
  """
  leaving = threading.Event()

  def leave(*_) -> None:
    if leaving.is_set():
      return  # The handler and the thread both come here.
    leaving.set()
    with contextlib.suppress(OSError):  # The terminal may be gone.
      os.write(sys.__stderr__.fileno(), f'\n{sentence}\n'.encode())
    _exit_at_once(code)

  def watch() -> None:
    while data := os.read(reader, 1):
      if signal.getsignal(data[0]) is leave:
        leave()

  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  before = _handle(_SIGNALS, leave)
  woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
  watcher = threading.Thread(target=watch, daemon=True)
  watcher.start()
  try:
    yield
  finally:
    signal.set_wakeup_fd(woken)
    _restore(before)
    os.close(writer)  # The watcher reads the end and stops.
    watcher.join()
    os.close(reader)


@contextlib.contextmanager
def exiting() -> Iterator[None]:
  """Ends the program by an exception, so that what is half written is removed.

  For commands that cannot resume: SIGTERM, SIGUSR1 and SIGHUP become a
  `SystemExit` with 128 + the number of the signal, as shells report it. Ctrl-C
  is an exception already.
  """

  def leave(number: int, _: Any) -> NoReturn:
    raise SystemExit(128 + number)

  before = _handle([s for s in _SIGNALS if s != signal.SIGINT], leave)
  try:
    yield
  finally:
    _restore(before)


class Interrupts:
  """Notes signals instead of dying of them; a context manager.

  Where several processes step together, JAX itself notes SIGTERM, which any of
  them may get, and finds a step that all can stop after. The other signals are
  passed on as SIGTERM there.
  """

  def __init__(self, *, alone: bool = False):
    """Prepares to note signals.

    Args:
      alone: Whether this process may stop after another step than others.
    """
    import jax  # Slow, and signals are to be handled before.

    self._together = jax.process_count() > 1 and not alone

  def __enter__(self):
    self._noted = False
    if self._together:
      # JAX would not hear of a SIGTERM that is handled here.
      others = [s for s in _SIGNALS if s != signal.SIGTERM]
      self._before = _handle(others, _pass_on)
    else:
      self._before = _handle(_SIGNALS, self._note)
    return self

  def __exit__(self, *_):
    _restore(self._before)

  def requested(self, step: int) -> bool:
    """Whether to stop after this step; all that step together agree."""
    if self._together:
      from jax.experimental import multihost_utils

      return multihost_utils.reached_preemption_sync_point(step)
    return self._noted

  def _note(self, *_) -> None:
    if self._noted:
      with contextlib.suppress(OSError):
        os.write(sys.__stderr__.fileno(), _STILL)
    self._noted = True


def _handle(
    numbers: Any, handler: Callable[..., Any]
) -> dict[signal.Signals, Any]:
  """Sets a handler for signals; returns those they had before."""
  return {
      number: signal.signal(number, handler)
      for number in numbers
      if signal.getsignal(number) is not signal.SIG_IGN
  }


def _restore(handlers: dict[signal.Signals, Any]) -> None:
  for number, handler in handlers.items():
    signal.signal(number, handler)


def _pass_on(*_) -> None:
  os.kill(os.getpid(), signal.SIGTERM)


def end_at_once(code: int) -> NoReturn:
  """Ends the process after an error, whatever its threads still wait for."""
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(OSError, ValueError):
      stream.flush()
  _exit_at_once(code)


def _exit_at_once(code: int) -> NoReturn:
  locks.release_all()
  # Worker processes would wait for this one for ever.
  multiprocessing = sys.modules.get('multiprocessing')
  for child in multiprocessing.active_children() if multiprocessing else ():
    child.kill()
  os._exit(code)
