"""Ends a run cleanly when a signal asks it to stop.

Four signals do so: SIGTERM, SIGINT (Ctrl-C), SIGUSR1, which Slurm can send
before it ends a job, and SIGHUP, which is sent when a terminal closes. As long
as there is nothing to save, the process exits at once (`leaving_at_once`);
later, it saves first (`Interrupts`). A signal that was ignored when the program
started, such as SIGHUP under `nohup`, stays ignored.
"""

from collections.abc import Callable, Iterator
import contextlib
import os
import signal
import sys
import threading
from typing import Any, NoReturn

from rq_jax.distributed import locks

# Exit code of a process that can be resumed: EX_TEMPFAIL of sysexits.h. Slurm
# and Kubernetes can be set to try again then.
RESUMABLE = 75

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
_BEFORE_EXIT: list[Callable[[int], None]] = []
_STILL = '\nStill finishing; please wait. SIGKILL would lose unsaved work.'


class Interrupted(Exception):
  """A signal stopped the work, which is saved and can be resumed."""

  def __init__(self, saved: str):
    """Makes the message; `saved` is a phrase such as 'saved at step 12'."""
    super().__init__(
        f'Interrupted: {saved}. Run the same command again to resume.'
    )


@contextlib.contextmanager
def leaving_at_once(sentence: str, code: int) -> Iterator[None]:
  """Ends the process at the first signal, while there is nothing to save.

  Python runs signal handlers between two of its own instructions, which may be
  minutes apart while a model compiles. So a thread also waits for the signals.
  Handlers that are set meanwhile, for example by `Interrupts`, take precedence.

  Args:
    sentence: What to print to the standard error.
    code: The exit code.
  """
  leaving = threading.Event()

  def leave(*_) -> None:
    if leaving.is_set():
      return  # The handler and the thread may both call this.
    leaving.set()
    say(f'\n{sentence}')
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
    os.close(writer)  # The watcher reads the end of the pipe and stops.
    watcher.join()
    os.close(reader)


@contextlib.contextmanager
def exiting() -> Iterator[None]:
  """Turns signals into an exception, so that half-written files are removed.

  For commands that cannot resume: SIGTERM, SIGUSR1 and SIGHUP raise a
  `SystemExit` with 128 + the number of the signal, as shells report it. Ctrl-C
  raises an exception already.
  """

  def leave(number: int, _: Any) -> NoReturn:
    raise SystemExit(128 + number)

  before = _handle([s for s in _SIGNALS if s != signal.SIGINT], leave)
  try:
    yield
  finally:
    _restore(before)


class Interrupts:
  """A context manager that records signals instead of ending the process.

  If several processes step together, JAX itself records SIGTERM, which any of
  them may get, and finds a step after which all of them can stop. The other
  signals are then passed on as SIGTERM.
  """

  def __init__(self, *, alone: bool = False):
    """Prepares to record signals.

    Args:
      alone: Whether this process may stop after a different step than others.
    """
    import jax  # Slow to import, and signals must be handled before.

    self._together = jax.process_count() > 1 and not alone

  def __enter__(self):
    self._noted = False
    if self._together:
      # JAX would not receive a SIGTERM that is handled here.
      others = [s for s in _SIGNALS if s != signal.SIGTERM]
      self._before = _handle(others, _pass_on)
    else:
      self._before = _handle(_SIGNALS, self._note)
    return self

  def __exit__(self, *_):
    _restore(self._before)

  def requested(self, step: int) -> bool:
    """Whether to stop after this step; processes that step together agree."""
    if self._together:
      from jax.experimental import multihost_utils

      return multihost_utils.reached_preemption_sync_point(step)
    return self._noted

  def _note(self, *_) -> None:
    if self._noted:
      say(_STILL)
    self._noted = True


def _handle(
    numbers: Any, handler: Callable[..., Any]
) -> dict[signal.Signals, Any]:
  """Sets a handler for signals; returns their previous handlers."""
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
  """Ends the process after an error, even if its threads are waiting."""
  for stream in filter(None, (sys.stdout, sys.stderr)):  # None if closed.
    with contextlib.suppress(OSError, ValueError):
      stream.flush()
  _exit_at_once(code)


def say(text: str) -> None:
  """Writes to the standard error, unless it is closed or its terminal gone.

  Signal handlers and threads may call it while another one prints.
  """
  if sys.__stderr__ is not None:
    with contextlib.suppress(OSError):
      os.write(sys.__stderr__.fileno(), f'{text}\n'.encode())


def before_exit(action: Callable[[int], None]) -> None:
  """Adds a function of the exit code to call before this process ends at once.

  Args:
    action: Must return soon, whatever the other threads wait for.
  """
  _BEFORE_EXIT.append(action)


def _exit_at_once(code: int) -> NoReturn:
  locks.release_all()
  for action in _BEFORE_EXIT:
    action(code)
  # Worker processes would wait for this one forever.
  multiprocessing = sys.modules.get('multiprocessing')
  for child in multiprocessing.active_children() if multiprocessing else ():
    child.kill()
  os._exit(code)
