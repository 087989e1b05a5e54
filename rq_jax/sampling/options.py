"""How to turn logits into a draw."""

from collections.abc import Sequence
import dataclasses
import math


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
  """How to turn logits into a draw; numbers, or one for each depth.

  Attributes:
    temperature: Divides the logits; below 1 sharpens the distribution.
    top_k: Keeps the k most likely codes, and any that tie with the last of
      them. `None` keeps all; 1 is greedy.
    top_p: Keeps the smallest set of most likely codes whose mass reaches p, and
      any that tie with the last of them. Applied after `top_k`.

  Raises:
    ValueError: If a value is out of range.
  """

  temperature: float | Sequence[float] = 1.0
  top_k: int | Sequence[int] | None = None
  top_p: float | Sequence[float] = 1.0

  def __post_init__(self):
    for name in ('temperature', 'top_k', 'top_p'):
      value = getattr(self, name)
      if isinstance(value, Sequence):  # Hashable, as options of a program are.
        object.__setattr__(self, name, tuple(value))
    for value in _numbers(self.temperature):
      if not (value > 0 and math.isfinite(value)):
        raise ValueError(
            f'temperature={value} must be positive; top_k=1 draws greedily.'
        )
    for value in _numbers(self.top_k) if self.top_k is not None else ():
      if isinstance(value, float) or value < 1:
        raise ValueError(
            f'top_k={value} must be a whole number of at least 1; None keeps'
            ' all codes.'
        )
    for value in _numbers(self.top_p):
      if not 0 < value <= 1:
        raise ValueError(
            f'top_p={value} must lie in (0, 1]; 1 keeps all codes.'
        )

  def by_depth(self, name: str, depth: int) -> tuple:
    """An option as D numbers.

    Raises:
      ValueError: If it has another number of them than the model has depths.
    """
    value = getattr(self, name)
    if not isinstance(value, tuple):
      return (value,) * depth
    if len(value) != depth:
      raise ValueError(
          f'{name}={value} has {len(value)} numbers, but this model draws'
          f' {depth} codes at each position. Give {depth}, or one for all.'
      )
    return value


def _numbers(value) -> tuple:
  return value if isinstance(value, tuple) else (value,)
