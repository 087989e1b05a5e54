"""The figures of the quickstart: are the drawn digits right, varied and new?

Every distance and every classifier works on 8x8 pixels, the resolution of the
original digits, after the same area mean of real and of generated images.
Images are uint8[N, 32, 32, 3], labels int[N]. Needs scikit-learn, which is
imported where a classifier is trained.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import math
from typing import Any, cast

import numpy as np

SIDE = 8


@dataclasses.dataclass(frozen=True)
class Bar:
  """What a figure must reach.

  Attributes:
    title: Name of the figure, for people.
    meaning: What the figure tells, in a sentence or two.
    low: Smallest value that passes (the last one of a series), or None.
    high: Largest value that passes, or None.
    rising: Whether the figure is a series that must rise strictly.
    unit: Printed after the value, with the space before it.
  """

  title: str
  meaning: str
  low: float | None = None
  high: float | None = None
  rising: bool = False
  unit: str = ''

  def met(self, value: float | Sequence[float]) -> bool:
    """Whether a measured value passes; one that is not finite never does."""
    series = [float(v) for v in np.atleast_1d(value)]
    if not series or not all(math.isfinite(v) for v in series):
      return False
    if self.rising and not all(a < b for a, b in itertools.pairwise(series)):
      return False
    low = -math.inf if self.low is None else self.low
    high = math.inf if self.high is None else self.high
    return low <= series[-1] <= high


BARS: Mapping[str, Bar] = {
    'seconds': Bar(
        'Wall time',
        'From the command to this page, set-up included.',
        high=600,
        unit=' s',
    ),
    'class_accuracy': Bar(
        'Class accuracy',
        'How often a classifier that knows real digits only reads the digit'
        ' that was asked for.',
        low=0.95,
    ),
    'classifier_accuracy': Bar(
        'The judge itself',
        'How often that classifier is right about real digits that it has not'
        ' seen.',
        low=0.97,
    ),
    'diversity_mean': Bar(
        'Diversity',
        'How far apart two generated digits of a class are, over the same of'
        ' real ones; 1 is as varied as handwriting. Mean of the classes.',
        low=0.85,
        high=1.15,
    ),
    'diversity_min': Bar(
        'Diversity, least varied class',
        'The same for the class that varies least.',
        low=0.75,
    ),
    'novelty': Bar(
        'Novelty',
        'How far a generated digit is from the closest training digit, over'
        ' the same of unseen real digits; near 0 is copying.',
        low=0.9,
    ),
    'trained_on_generated': Bar(
        'Taught by generated digits',
        'How often a classifier trained on generated digits alone is right'
        ' about unseen real ones.',
        low=0.93,
    ),
    'psnr_by_depth': Bar(
        'Reconstruction by depth',
        'PSNR of unseen digits, rebuilt from the first 1, 2, 3, 4 codes'
        ' of every stack.',
        low=25,
        rising=True,
        unit=' dB',
    ),
    'quantization_gap': Bar(
        'Quantization gap',
        'Quantization error of unseen over training digits; 1 is no gap.',
        high=1.1,
    ),
    'codebook_perplexity': Bar(
        'Codebook perplexity',
        'Effective share of the codebook in use; 1 is every code equally'
        ' often.',
        low=0.5,
    ),
}


def measured(report: Mapping[str, Any], key: str) -> Any:
  """The value in a report that a bar is held against; None if missing.

  Wall time is the 'total' of the report's seconds by phase.
  """
  value = report.get(key)
  return value.get('total') if isinstance(value, Mapping) else value


def verdicts(report: Mapping[str, Any]) -> dict[str, bool]:
  """Whether each bar is met, by report key; a missing figure is not."""
  values = {key: measured(report, key) for key in BARS}
  return {k: v is not None and BARS[k].met(v) for k, v in values.items()}


def downsample(images: np.ndarray) -> np.ndarray:
  """Area means of the grey image: uint8[N, 32, 32, 3] -> float64[N, 64].

  Args:
    images: uint8[N, S, S, 3], S a multiple of 8.

  Returns:
    Means over channels and over S/8 x S/8 pixels, in [0, 1], row by row.

  Raises:
    ValueError: If the images are of another type or shape.
  """
  shape = images.shape
  if (
      images.dtype != np.uint8
      or len(shape) != 4
      or shape[1] != shape[2]
      or shape[1] % SIDE
  ):
    raise ValueError(
        f'images are {images.dtype}{list(shape)}; the figures need uint8[N, S,'
        f' S, 3] with S a multiple of {SIDE}: pass the images as drawn'
    )
  block = shape[1] // SIDE
  pixels = images.reshape(len(images), SIDE, block, SIDE, block, -1) / 255.0
  return pixels.mean(axis=(2, 4, 5)).reshape(len(images), SIDE * SIDE)


def train_classifier(images: np.ndarray, labels: np.ndarray) -> Any:
  """A support vector machine that has learnt which digit an image shows."""
  from sklearn import svm

  # scikit-learn declares no types; pyright infers `str` from the default.
  gamma = cast(Any, 0.5)
  return svm.SVC(gamma=gamma).fit(downsample(images), labels)


def accuracy(classifier: Any, images: np.ndarray, labels: np.ndarray) -> float:
  """Share of the images for which the classifier answers the label."""
  answers = classifier.predict(downsample(images))
  return float(np.mean(answers == np.asarray(labels)))


def diversity(
    generated: np.ndarray,
    generated_labels: np.ndarray,
    real: np.ndarray,
    real_labels: np.ndarray,
) -> tuple[float, float]:
  """Spread of generated over spread of real digits: (mean, minimum) of classes.

  The spread of a class is the mean distance of two different images of it.

  Raises:
    ValueError: If either side has fewer than two images of a real class.
  """
  ratios = []
  for label in np.unique(real_labels):
    ours = generated[np.asarray(generated_labels) == label]
    theirs = real[np.asarray(real_labels) == label]
    if min(len(ours), len(theirs)) < 2:
      raise ValueError(
          f'class {label} has {len(ours)} generated and {len(theirs)} real'
          ' images; diversity compares pairs: draw at least 2 of every class'
      )
    ratios.append(_spread(downsample(ours)) / _spread(downsample(theirs)))
  return float(np.mean(ratios)), float(np.min(ratios))


def novelty(
    generated: np.ndarray, train: np.ndarray, held_out: np.ndarray
) -> float:
  """Distance to the nearest training digit, generated over held-out: medians.

  About 1 when samples are as new as unseen digits, near 0 when they are copies.
  """
  known = downsample(train)
  ours = _distances(downsample(generated), known).min(axis=1)
  theirs = _distances(downsample(held_out), known).min(axis=1)
  return float(np.median(ours) / np.median(theirs))


def figures(
    generated: np.ndarray,
    generated_labels: np.ndarray,
    train_images: np.ndarray,
    train_labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
) -> dict[str, float]:
  """All figures of a set of generated digits, by their key in the report.

  Args:
    generated: uint8[N, 32, 32, 3], every sample that was drawn.
    generated_labels: int[N], the digits that were asked for.
    train_images: uint8[M, 32, 32, 3], the real digits of the training split.
    train_labels: int[M].
    test_images: uint8[P, 32, 32, 3], the held-out real digits.
    test_labels: int[P].

  Returns:
    classifier_accuracy, class_accuracy, diversity_mean and diversity_min
    (against the training digits), novelty and trained_on_generated.
  """
  judge = train_classifier(train_images, train_labels)
  pupil = train_classifier(generated, generated_labels)
  mean, minimum = diversity(
      generated, generated_labels, train_images, train_labels
  )
  return {
      'classifier_accuracy': accuracy(judge, test_images, test_labels),
      'class_accuracy': accuracy(judge, generated, generated_labels),
      'diversity_mean': mean,
      'diversity_min': minimum,
      'novelty': novelty(generated, train_images, test_images),
      'trained_on_generated': accuracy(pupil, test_images, test_labels),
  }


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Euclidean distances: float64[N, F], float64[M, F] -> float64[N, M]."""
  # Row by row: exact for copies, and no [N, M, F] array.
  return np.stack([np.linalg.norm(b - row, axis=-1) for row in a])


def _spread(points: np.ndarray) -> float:
  """Mean distance over the ordered pairs of two different points."""
  n = len(points)
  return float(_distances(points, points).sum() / (n * (n - 1)))
