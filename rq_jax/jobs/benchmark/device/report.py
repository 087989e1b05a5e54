"""Results of a device check, written to a file after every case."""

from collections.abc import Callable, Iterable
import time
from typing import Any

from rq_jax import files
from rq_jax.distributed import console
from rq_jax.jobs.benchmark import failures

# A case: its name, and a function that returns its result.
Case = tuple[str, Callable[[], Any]]


class SkippedError(Exception):
  """A case that cannot run here; the message is the reason."""


class Report:
  """The results of all parts, and the time that is left.

  Attributes:
    record: Everything that the file holds.
  """

  def __init__(self, path: str, head: dict[str, Any], minutes: float):
    """Starts the clock, and writes the file.

    Args:
      path: The file, of JSON.
      head: What the file holds besides the parts.
      minutes: Time for all parts.

    Raises:
      OSError: If the file cannot be written.
    """
    self.record = {**head, 'parts': {}}
    self._path = path
    self._start = time.monotonic()
    self._limit = 60 * minutes
    self._write()

  def left(self) -> float:
    """Seconds that are left."""
    return self._limit - (time.monotonic() - self._start)

  def require(self, seconds: float) -> None:
    """Raises a SkippedError if less time is left."""
    if (left := self.left()) < seconds:
      raise SkippedError(
          f'Only {max(left, 0):.0f} s are left, and this may take'
          f' {seconds:.0f} s. Give more --minutes.'
      )

  def part(self, name: str, cases: Iterable[Case]) -> None:
    """Runs cases one after the other; an error ends only its case.

    Args:
      name: Name of the part.
      cases: The cases. If making the next one fails, the part ends.
    """
    found = self.record['parts'][name] = []
    cases = iter(cases)
    while True:
      start = time.monotonic()
      case = name
      try:
        try:
          case, work = next(cases)
        except StopIteration:
          return
        result = {'state': 'done', 'found': work()}
      except SkippedError as error:
        result = {'state': 'skipped', 'reason': str(error)}
      # Any error, such as one of a compiler; the other cases still run.
      except Exception as error:
        result = {'state': 'failed', 'reason': failures.reason(error)}
      seconds = time.monotonic() - start
      found.append({'case': case, 'seconds': round(seconds, 2), **result})
      self._write()
      why = f': {result["reason"][:200]}' if 'reason' in result else ''
      console.tell(
          f'[{self._limit - self.left():4.0f} s] {name}, {case}:'
          f' {result["state"]} in {seconds:.1f} s{why}'
      )

  @property
  def failed(self) -> list[str]:
    """Names of the cases that failed."""
    return [
        f'{part}, {case["case"]}'
        for part, cases in self.record['parts'].items()
        for case in cases
        if case['state'] == 'failed'
    ]

  def _write(self) -> None:
    files.write_json(self._path, self.record)
