"""Accounts for the wall time of a run, and computes its goodput.

At any moment, the loop does one kind of work, and its time belongs to it:

  start: imports, opening of data, building, and tracing of programs.
  restore: reading of the newest checkpoint.
  compile: the first call of the training step, and the compilation of all other
    programs, or reading them from disk.
  input: waiting for the next batch, and sending it to the devices.
  evaluation: evaluations, including drawn images and metrics of them.
  save: the time that the loop waits for checkpoints. Most of a save happens in
    the background, while steps are taken.
  step: the time in which the loop does nothing of the above. Devices compute
    steps while the loop already prepares the next ones, and no step waits for
    the host. So this is not the time that the devices compute: if they wait for
    data, that time is 'input', and if the loop waits for them, it is 'step'.
  lost: steps, input, evaluations and saves after the last checkpoint, before a
    restart. They were repeated.
  down: from the last line of metrics of one program to the start of the next
    one. It includes work after that line.

Their sum is the wall time since the run began. Goodput is the share of 'step'.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import os
import pathlib
import time
from typing import Any

from rq_jax import compilation
from rq_jax.distributed import console
from rq_jax.distributed import interrupts

_NAMES = {
    'step': 'steps',
    'compile': 'compilation',
    'input': 'input',
    'evaluation': 'evaluation',
    'save': 'saving',
    'restore': 'restoring',
    'start': 'starting',
    'lost': 'lost steps',
    'down': 'downtime',
}
_REPEATED = ('step', 'input', 'evaluation', 'save')
# In the last line of a run that has taken all its steps.
FINISHED = 'run/finished'


class Accounts:
  """Seconds of a run by kind, over all its programs; a context manager.

  Leaving it prints one line, unless the run failed.
  """

  def __init__(self, *, started: float | None = None):
    """Starts with the kind 'start'.

    Args:
      started: When the program started, in seconds since 1970; None for now.
    """
    self._seconds = dict.fromkeys(_NAMES, 0.0)
    self._kind = 'start'
    now = time.time()
    self._began = min(now, now if started is None else started)
    self._since = time.perf_counter() - (now - self._began)
    self._held = contextlib.ExitStack()
    self._compiling, self._compiled = compilation.Clock(), 0.0

  def __enter__(self):
    self._compiling = self._held.enter_context(compilation.clock())
    return self

  def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
    self._held.close()
    if error is None or issubclass(error, interrupts.Interrupted):
      console.tell(self.summary())

  def switch(self, kind: str) -> None:
    """Counts the time from now on as this kind."""
    now, compiled = time.perf_counter(), self._compiling.seconds
    passed = now - self._since
    # Several threads may compile at the same time.
    compiling = min(passed, compiled - self._compiled)
    self._seconds['compile'] += compiling
    self._seconds[self._kind] += passed - compiling
    self._kind, self._since, self._compiled = kind, now, compiled

  @contextlib.contextmanager
  def kind(self, kind: str) -> Iterator[None]:
    """Counts the time of a `with` block as this kind."""
    before = self._kind
    self.switch(kind)
    try:
      yield
    finally:
      self.switch(before)

  def carry_on(self, lines: Sequence[Mapping[str, Any]], step: int) -> None:
    """Adds the time of earlier programs of the run; call it once.

    Args:
      lines: All lines of the run's `metrics.jsonl`.
      step: Step of the checkpoint that this program continues from.
    """
    timed = [line for line in lines if 'time/step' in line]
    if not timed:
      return
    last = timed[-1]
    kept = [line for line in timed if line['step'] <= step]
    for kind in _NAMES:
      seconds = last.get(f'time/{kind}', 0.0)
      if kind in _REPEATED:
        done = kept[-1].get(f'time/{kind}', 0.0) if kept else 0.0
        self._seconds['lost'] += seconds - done
        seconds = done
      self._seconds[kind] += seconds
    if not last.get(FINISHED):
      self._seconds['down'] += max(0.0, self._began - last['time'])

  def totals(self) -> dict[str, float]:
    """Seconds by kind until now, by the names in `metrics.jsonl`."""
    self.switch(self._kind)
    return {f'time/{kind}': round(s, 3) for kind, s in self._seconds.items()}

  def summary(self) -> str:
    """The goodput and the shares of all other kinds, as two sentences."""
    self.switch(self._kind)
    total = sum(self._seconds.values()) or 1.0
    steps = self._seconds['step']
    rest = [
        f'{_NAMES[kind]} {seconds / total:.1%}'
        for kind, seconds in self._seconds.items()
        if kind != 'step' and seconds >= total / 2000
    ]
    return (
        f'Goodput {steps / total:.1%}: steps took {_readable(steps)} of'
        f' {_readable(total)}. The rest: {", ".join(rest) or "none"}.'
    )


def process_started() -> float:
  """When this process started, in seconds since 1970; now if it is unknown."""
  now = time.time()
  try:
    text = pathlib.Path('/proc/self/stat').read_text()
    # The name of the program, in parentheses, may contain spaces.
    ticks = int(text.rpartition(')')[2].split()[19])
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
  except (OSError, AttributeError):  # Not Linux.
    return now
  return now - max(0.0, uptime - ticks / os.sysconf('SC_CLK_TCK'))


def _readable(seconds: float) -> str:
  if seconds < 100:
    return f'{seconds:.1f} s'
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours} h {minutes} min' if hours else f'{minutes} min {seconds} s'
