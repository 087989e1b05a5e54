"""Scores of images by a classifier: the log-probability of their class."""

from collections.abc import Sequence

import numpy as np


def log_probabilities(
    logits: np.ndarray, classes: Sequence[Sequence[int]]
) -> np.ndarray:
  """Log-probability that images show classes of sets: -> float64[N].

  This is the logarithm of the sum of the softmax over a set. It is computed as
  -log(1 + q / p) from the probabilities p within the set and q outside, so that
  it does not round to 0 for images about which the classifier is sure: they
  still have different scores.

  Args:
    logits: Logits of the classifier, float[N, K].
    classes: Classes that count as right, numbers in [0, K) for each image.
  """
  inside = np.zeros(logits.shape, bool)
  for row, numbers in zip(inside, classes, strict=True):
    row[list(numbers)] = True
  logits = logits.astype(np.float64)
  p, q = (
      np.logaddexp.reduce(np.where(chosen, logits, -np.inf), axis=1)
      for chosen in (inside, ~inside)
  )
  return -np.logaddexp(0, q - p)
