"""Shows where a process is when a step takes much longer than those before."""

import collections
import faulthandler
import statistics
import sys
import threading
import time

from rq_jax.distributed import interrupts

FACTOR = 20
LEAST_SECONDS = 30
# Steps that the mean is of, at least, and those before the first judgement.
_RECENT, _ENOUGH = 50, 5


class Watchdog:
  """A context manager that prints the stacks of all threads, at most once.

  It only prints: a step may be slow for a good reason, and continues.

  Most steps are only handed to the devices. One that logs may wait for all
  steps since the last log, so a step may take as long as two logs are apart.
  """

  def __init__(
      self,
      log_steps: int,
      *,
      factor: float = FACTOR,
      least: float = LEAST_SECONDS,
  ):
    """Prepares to watch steps.

    Args:
      log_steps: Number of steps between two logs.
      factor: How many times the mean of recent steps a step may take.
      least: Time that any step may take, in seconds.
    """
    self._log_steps, self._factor, self._least = log_steps, factor, least
    self._recent: collections.deque[float] = collections.deque(
        maxlen=max(_RECENT, 2 * log_steps)
    )
    self._compiled = False
    self._begun: float | None = None
    self._stopped = threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)

  def __enter__(self):
    self._thread.start()
    return self

  def __exit__(self, *_):
    self._stopped.set()
    self._thread.join()

  def begin(self) -> None:
    """Notes that a step begins, with the wait for its batch."""
    self._begun = time.monotonic()

  def end(self) -> None:
    """Notes that the step has ended; evaluations and saves are not watched."""
    if self._begun is not None and self._compiled:
      self._recent.append(time.monotonic() - self._begun)
    self._begun, self._compiled = None, True

  def _limit(self) -> float | None:
    """How long a step may take, in seconds; None as long as it is unknown."""
    recent = list(self._recent)
    if len(recent) < max(_ENOUGH, self._log_steps):
      return None
    steps = max(self._factor, 2 * self._log_steps)
    return max(self._least, steps * statistics.mean(recent))

  def _watch(self) -> None:
    while not self._stopped.wait(self._least / 10):
      begun, limit = self._begun, self._limit()
      if begun is None or limit is None:
        continue
      if (taken := time.monotonic() - begun) > limit:
        _print_stacks(taken, limit)
        return


def _print_stacks(taken: float, limit: float) -> None:
  interrupts.say(
      f'\nWarning: This step has taken {taken:.0f} s so far, much longer than'
      f' recent ones (limit {limit:.0f} s). The run continues. This is where'
      ' the threads of this process are:'
  )
  if sys.__stderr__ is not None:
    faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
