"""Decides which checkpoints of a run are kept, and for which reason."""

from collections.abc import Iterable, Mapping, Sequence
import math
from typing import Any


class Evaluations:
  """Values of one metric by the step of their evaluation.

  Evaluations and checkpoints may have different steps. The newest evaluation at
  or before the step of a checkpoint counts for it.

  Attributes:
    metric: Name of the metric, such as 'eval/mse'; None if there is none.
    higher: Whether a higher value is better.
  """

  def __init__(
      self,
      metric: str | None,
      *,
      higher: bool = False,
      lines: Iterable[Mapping[str, Any]] = (),
  ):
    """Starts with the values in `lines`, the lines of a `metrics.jsonl`."""
    self.metric, self.higher = metric, higher
    self._values: dict[int, float] = {}
    for line in lines:
      self.add(line['step'], line)

  def add(self, step: int, results: Mapping[str, Any]) -> None:
    """Adds the metric of an evaluation, if it is there and finite."""
    value = results.get(self.metric) if self.metric else None
    if value is not None and math.isfinite(value):
      self._values[step] = value

  def of(self, step: int) -> float | None:
    """The value that counts for a checkpoint; None if there is none."""
    before = [other for other in self._values if other <= step]
    return self._values[max(before)] if before else None

  def best(self, steps: Iterable[int]) -> int | None:
    """The step with the best value; None if no step has a value.

    The oldest of equal ones counts, because it is closest to its evaluation.
    """
    known = {s: v for s in steps if (v := self.of(s)) is not None}
    sign = -1 if self.higher else 1
    return min(known, key=lambda s: (sign * known[s], s), default=None)


def kept(
    steps: Sequence[int],
    *,
    newest: int,
    every: int = 0,
    evaluations: Evaluations | None = None,
) -> dict[int, list[str]]:
  """The steps to keep, in order, each with its reasons.

  Args:
    steps: Steps of the checkpoints, in order.
    newest: How many of the newest are kept.
    every: Steps that are multiples of this are kept; 0 for none.
    evaluations: The best step by these is kept.
  """
  best = evaluations.best(steps) if evaluations else None
  newer = set(steps[-newest:])
  found = {}
  for step in steps:
    reasons = ['newest'] if step in newer else []
    if _divides(every, step):
      reasons.append(f'every {every}')
    if step == best and evaluations:
      reasons.append(f'best {evaluations.metric}')
    if reasons:
      found[step] = reasons
  return found


def _divides(every: int, step: int) -> bool:
  return every > 0 and step % every == 0


class Policy:
  """A preservation policy of Orbax: what `kept` decides, after every save.

  Attributes:
    unknown: Steps that may be the best, because their value is not known.
  """

  def __init__(
      self,
      newest: int,
      *,
      every: int = 0,
      evaluations: Evaluations | None = None,
      existing: Sequence[int] = (),
  ):
    """Stores the arguments of `kept`.

    Args:
      newest: As in `kept`.
      every: As in `kept`.
      evaluations: As in `kept`. Values may be added later.
      existing: Steps of the checkpoints that are there already, in order. One
        that is not among the newest was kept for a reason. If the best is to be
        kept and its value is unknown, it may be the best, so it stays.
    """
    self._newest, self._every = newest, every
    self._evaluations = evaluations
    self.unknown: list[int] = []
    if evaluations is not None and evaluations.metric is not None:
      self.unknown = [
          step
          for step in existing[:-newest]
          if evaluations.of(step) is None and not _divides(every, step)
      ]

  def should_preserve(
      self, checkpoints: Sequence[Any], *, context: Any
  ) -> list[bool]:
    """Whether to keep each checkpoint, given with its `step`, in order."""
    del context
    steps = [each.step for each in checkpoints]
    found = kept(
        steps,
        newest=self._newest,
        every=self._every,
        evaluations=self._evaluations,
    )
    return [step in found or step in self.unknown for step in steps]
