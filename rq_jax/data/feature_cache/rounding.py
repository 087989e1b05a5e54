"""Rounds features to float16, and measures the error."""

from collections.abc import Iterable
import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Error:
  """The error of rounding features to float16.

  Attributes:
    largest: The largest absolute difference; 0 without features.
    sum_of_squares: Sum of the squares of all features.
    count: Number of features, as single numbers.
  """

  largest: float = 0.0
  sum_of_squares: float = 0.0
  count: int = 0

  @property
  def root_mean_square(self) -> float:
    """Root mean square of the features; 0 without features."""
    return math.sqrt(self.sum_of_squares / self.count) if self.count else 0.0

  @property
  def relative(self) -> float:
    """The largest difference, divided by the root mean square."""
    scale = self.root_mean_square
    return self.largest / scale if scale else 0.0


def total(errors: Iterable[Error]) -> Error:
  """The error of several sets of features together.

  The sum of squares is exact up to one rounding, so it does not depend on how
  the features are divided into sets of whole examples.
  """
  found = list(errors)
  return Error(
      largest=max((error.largest for error in found), default=0.0),
      sum_of_squares=math.fsum(error.sum_of_squares for error in found),
      count=sum(error.count for error in found),
  )


def half(features: np.ndarray) -> tuple[np.ndarray, list[Error]]:
  """Rounds features to float16: float[n, ...] -> float16[n, ...].

  Returns:
    The rounded features, and the error of each example.

  Raises:
    ValueError: If a value is not finite in float16.
  """
  with np.errstate(over='ignore'):
    rounded = features.astype(np.float16)
  if not np.isfinite(rounded).all():
    raise ValueError(
        f'A feature has the magnitude {np.abs(features).max():.3g}, which is'
        ' not finite in float16, but a cache holds finite values up to 65504.'
        ' Use an earlier checkpoint of the tokenizer, or another tokenizer.'
    )
  exact = features.astype(np.float64).reshape(len(features), -1)
  errors = np.abs(exact - rounded.reshape(exact.shape))
  rows = zip(
      errors.max(axis=1, initial=0).tolist(),
      np.square(exact).sum(axis=1).tolist(),
      strict=True,
  )
  return rounded, [Error(*row, exact.shape[1]) for row in rows]
