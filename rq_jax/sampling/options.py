"""How to turn logits into a draw."""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

SCHEDULES = {
    'constant': np.ones_like,
    'linear': lambda x: x,
    'cosine': lambda x: (1 - np.cos(np.pi * x)) / 2,
}
_COLDEST = 1e-6  # What float32 logits can be divided by.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
  """How to turn logits into a draw; numbers, or one for each depth.

  Attributes:
    temperature: Divides the logits; below 1 sharpens the distribution.
    top_k: Keeps the k most likely codes, and any that tie with the last of
      them. `None` keeps all; 1 is greedy.
    top_p: Keeps the smallest set of most likely codes whose mass reaches p, and
      any that tie with the last of them. Applied after `top_k`.
    guidance: Scale s of classifier-free guidance: draws from the logits
      null + s * (conditional - null), where null are those of the null class.
      1 draws without guidance, 0 without the condition; above 1 the condition
      is exaggerated. Applied before all others.
    guidance_schedule: How the scale goes from the first position to the last:
      'constant'; or from 1 to `guidance`, 'linear', or along half a 'cosine'.

  Raises:
    ValueError: If a value is out of range.
  """

  temperature: float | Sequence[float] = 1.0
  top_k: int | Sequence[int | None] | None = None
  top_p: float | Sequence[float] = 1.0
  guidance: float | Sequence[float] = 1.0
  guidance_schedule: str = 'constant'

  def __post_init__(self):
    for name in ('temperature', 'top_k', 'top_p', 'guidance'):
      value = getattr(self, name)
      if isinstance(value, Sequence | np.ndarray):
        object.__setattr__(self, name, tuple(value))
    for value in _numbers(self.temperature):
      if not (value >= _COLDEST and math.isfinite(value)):
        raise ValueError(
            f'temperature={value} must be at least {_COLDEST}; top_k=1 draws'
            ' greedily.'
        )
    for value in _numbers(self.top_k):
      if value is not None and (isinstance(value, float) or value < 1):
        raise ValueError(
            f'top_k={value} must be a whole number of at least 1; None keeps'
            ' all codes.'
        )
    for value in _numbers(self.top_p):
      if not 0 < value <= 1:
        raise ValueError(
            f'top_p={value} must lie in (0, 1]; 1 keeps all codes.'
        )
    for value in _numbers(self.guidance):
      if not 0 <= value < math.inf:
        raise ValueError(
            f'guidance={value} must be at least 0; 1 draws without guidance.'
        )
    if self.guidance_schedule not in SCHEDULES:
      raise ValueError(
          f'guidance_schedule={self.guidance_schedule!r} must be one of'
          f' {", ".join(SCHEDULES)}.'
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

  @property
  def guided(self) -> bool:
    """Whether any draw is guided; if none is, nothing is computed for it."""
    return any(scale != 1 for scale in _numbers(self.guidance))

  def scales(self, positions: int, depth: int) -> np.ndarray:
    """Scales of guidance of every draw of a code map: float32[T, D].

    Raises:
      ValueError: If there is another number of them than depths.
    """
    passed = np.arange(positions) / max(positions - 1, 1)
    if positions == 1:
      passed = np.ones(1)
    grown = SCHEDULES[self.guidance_schedule](passed)[:, None]  # [T, 1]
    scale = np.array(self.by_depth('guidance', depth))[None]  # [1, D]
    return (1 + (scale - 1) * grown).astype(np.float32)


def _numbers(value) -> tuple:
  return value if isinstance(value, tuple) else (value,)
