"""Options that turn logits into draws."""

from collections.abc import Sequence
import dataclasses
import math

from etils import epath
import numpy as np

from rq_jax.checkpoints import sampling_options

SCHEDULES = {
    'constant': np.ones_like,
    'linear': lambda x: x,
    'cosine': lambda x: (1 - np.cos(np.pi * x)) / 2,
}
_COLDEST = 1e-6  # float32 logits stay finite when divided by it.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
  """How to draw codes. Each option is one number, or one number per depth.

  Attributes:
    temperature: Divides the logits; a value below 1 sharpens the distribution.
    top_k: Draws only from the k most likely codes, and those that tie with the
      last of them. None allows all codes; 1 is greedy.
    top_p: Draws only from the fewest, most likely codes whose probabilities sum
      to p, and those that tie with the last of them. Applied after `top_k`.
    guidance: Scale s of classifier-free guidance, which draws from the logits
      null + s * (conditional - null), where null are those of the null class.
      1 means no guidance, 0 ignores the condition, and values above 1
      strengthen it. Applied before temperature and filters.
    guidance_schedule: How the scale changes from the first position to the
      last: 'constant' stays at `guidance`; 'linear' and 'cosine' grow from 1 to
      `guidance`, 'cosine' along half a period.

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
            f'temperature={value} must be at least {_COLDEST}. For greedy'
            ' sampling, set top_k=1.'
        )
    for value in _numbers(self.top_k):
      if value is not None and (isinstance(value, float) or value < 1):
        raise ValueError(
            f'top_k={value} must be a whole number of at least 1. None allows'
            ' all codes.'
        )
    for value in _numbers(self.top_p):
      if not 0 < value <= 1:
        raise ValueError(
            f'top_p={value} must be in (0, 1]. 1 allows all codes.'
        )
    for value in _numbers(self.guidance):
      if not 0 <= value < math.inf:
        raise ValueError(
            f'guidance={value} must be at least 0. 1 means no guidance.'
        )
    if self.guidance_schedule not in SCHEDULES:
      raise ValueError(
          f'guidance_schedule={self.guidance_schedule!r} must be one of'
          f' {", ".join(SCHEDULES)}.'
      )

  def by_depth(self, name: str, depth: int) -> tuple:
    """The value of an option at each depth: D numbers.

    Raises:
      ValueError: If the option has another number of values.
    """
    value = getattr(self, name)
    if not isinstance(value, tuple):
      return (value,) * depth
    if len(value) != depth:
      raise ValueError(
          f'{name}={value} has {len(value)} numbers, but this model has {depth}'
          f' depths. Set one number, or {depth} numbers.'
      )
    return value

  @property
  def guided(self) -> bool:
    """Whether any depth has a guidance scale other than 1."""
    return any(scale != 1 for scale in _numbers(self.guidance))

  def scales(self, positions: int, depth: int) -> np.ndarray:
    """Guidance scales of all codes of a map: float32[T, D].

    Raises:
      ValueError: If `guidance` has another number of values than D.
    """
    passed = np.arange(positions) / max(positions - 1, 1)
    if positions == 1:
      passed = np.ones(1)
    grown = SCHEDULES[self.guidance_schedule](passed)[:, None]  # [T, 1]
    scale = np.array(self.by_depth('guidance', depth))[None]  # [1, D]
    return (1 + (scale - 1) * grown).astype(np.float32)


def stored(folder: epath.PathLike) -> Sampling:
  """The options that a model was released with; the defaults for others.

  Args:
    folder: A run's folder, or an inference copy.

  Raises:
    ValueError: If `sampling.json` is damaged.
  """
  found = sampling_options.read(folder)
  try:
    return Sampling(**found)
  except (TypeError, ValueError) as error:
    raise ValueError(
        f'{epath.Path(folder) / sampling_options.FILE} is damaged: {error}'
        ' Convert the model again, or restore the file from a copy.'
    ) from error


def _numbers(value) -> tuple:
  return value if isinstance(value, tuple) else (value,)
