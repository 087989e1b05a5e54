"""Scores of images by a classifier: log-probabilities of classes."""

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


def of_each_class(
    logits: np.ndarray, classes: Sequence[Sequence[int]] | None = None
) -> np.ndarray:
  """Log-probabilities of the classes of a generator: [B, K] -> float64[B, M].

  Probabilities of good images are so close to 1 that float32 rounds many of
  them to it. Their logarithms differ.

  Args:
    logits: [B, K], logits of a classifier.
    classes: For each class of the generator, the classes of the classifier
      that it contains, whose probabilities are added; see
      `classifier_classes.read`. None if the classes are the same, so M = K.
  """
  logits = np.asarray(logits, np.float64)
  each = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
  if classes is None:
    return each
  columns = [np.logaddexp.reduce(each[:, list(n)], axis=1) for n in classes]
  return np.stack(columns, axis=1)
