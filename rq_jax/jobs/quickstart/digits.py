"""The figures of the quickstart: are the digits right, varied and new?

Every distance and every classifier works on 8x8 pixels, the resolution of the
original digits. Real and generated images are reduced to it by the same area
mean. Images are uint8[N, 32, 32, 3], labels int[N]. Training a classifier needs
scikit-learn, which is imported there.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import math
from typing import Any, cast

import numpy as np

SIDE = 8


@dataclasses.dataclass(frozen=True)
class Target:
  """The values that a figure should have.

  Attributes:
    title: Name of the figure on the page.
    meaning: What the figure measures, in a sentence or two.
    low: Smallest value that meets the target, or None. Of a series, it applies
      to the last value.
    high: Largest value that meets the target, or None. Of a series, it applies
      to the last value.
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
    """Whether a measured value meets the target; NaN and infinity never do."""
    series = [float(v) for v in np.atleast_1d(value)]
    if not series or not all(math.isfinite(v) for v in series):
      return False
    if self.rising and not all(a < b for a, b in itertools.pairwise(series)):
      return False
    low = -math.inf if self.low is None else self.low
    high = math.inf if self.high is None else self.high
    return low <= series[-1] <= high


TARGETS: Mapping[str, Target] = {
    'class_accuracy': Target(
        'Class accuracy',
        'Share of the generated digits that a classifier, trained only on real'
        ' digits, recognises as the requested class.',
        low=0.95,
    ),
    'classifier_accuracy': Target(
        'Accuracy of that classifier',
        'Share of the held-out real digits that the same classifier'
        ' recognises.',
        low=0.97,
    ),
    'diversity_mean': Target(
        'Diversity',
        'Mean distance between two generated digits of a class, divided by that'
        ' of real digits and averaged over the classes. 1 is as varied as'
        ' handwriting.',
        low=0.85,
        high=1.15,
    ),
    'diversity_min': Target(
        'Diversity of the least varied class',
        'The smallest of these ratios.',
        low=0.75,
    ),
    'novelty': Target(
        'Novelty',
        'Median distance from a generated digit to the closest training digit,'
        ' divided by that of held-out real digits. Copies of training digits'
        ' would give 0.',
        low=0.9,
    ),
    'trained_on_generated': Target(
        'Training on generated digits',
        'Share of the held-out real digits that a classifier, trained only on'
        ' generated digits, recognises.',
        low=0.93,
    ),
    'psnr_by_depth': Target(
        'Reconstruction by depth',
        'PSNR of held-out digits, reconstructed from the first 1, 2, 3 and 4'
        ' codes at every position.',
        low=25,
        rising=True,
        unit=' dB',
    ),
    'quantization_gap': Target(
        'Quantization gap',
        'Quantization error of held-out digits, divided by that of training'
        ' digits. 1 is no gap.',
        high=1.1,
    ),
    'codebook_perplexity': Target(
        'Codebook perplexity',
        'Effective number of codes in use, divided by the size of the codebook.'
        ' 1 means that all codes are used equally often.',
        low=0.5,
    ),
}


def verdicts(report: Mapping[str, Any]) -> dict[str, bool]:
  """Whether each target is met, by the key in the report.

  A figure that the report lacks misses its target.
  """
  values = {key: report.get(key) for key in TARGETS}
  return {k: v is not None and TARGETS[k].met(v) for k, v in values.items()}


def downsample(images: np.ndarray) -> np.ndarray:
  """Reduces images to 8x8 grey pixels: uint8[N, 32, 32, 3] -> float64[N, 64].

  Args:
    images: uint8[N, S, S, 3], S a multiple of 8.

  Returns:
    Means over the channels and over squares of S/8 x S/8 pixels, in [0, 1],
    row by row.

  Raises:
    ValueError: If the images have another type or shape.
  """
  shape = images.shape
  if (
      images.dtype != np.uint8
      or len(shape) != 4
      or shape[1] != shape[2]
      or shape[1] % SIDE
  ):
    raise ValueError(
        f'images is {images.dtype}{list(shape)}, but must be uint8[N, S, S, 3]'
        f' with S a multiple of {SIDE}. Pass the images as they were generated.'
    )
  block = shape[1] // SIDE
  pixels = images.reshape(len(images), SIDE, block, SIDE, block, -1) / 255.0
  return pixels.mean(axis=(2, 4, 5)).reshape(len(images), SIDE * SIDE)


def train_classifier(images: np.ndarray, labels: np.ndarray) -> Any:
  """Trains a support vector machine to recognise the digit of an image."""
  from sklearn import svm

  # scikit-learn declares no types; pyright infers `str` from the default.
  gamma = cast(Any, 0.5)
  return svm.SVC(gamma=gamma).fit(downsample(images), labels)


def accuracy(classifier: Any, images: np.ndarray, labels: np.ndarray) -> float:
  """Share of the images that the classifier recognises as their label."""
  answers = classifier.predict(downsample(images))
  return float(np.mean(answers == np.asarray(labels)))


def diversity(
    generated: np.ndarray,
    generated_labels: np.ndarray,
    real: np.ndarray,
    real_labels: np.ndarray,
) -> tuple[float, float]:
  """Spread of generated digits divided by that of real digits.

  The spread of a class is the mean distance between two of its images.

  Returns:
    The mean and the minimum of the ratios of all classes.

  Raises:
    ValueError: If a class of the real digits has fewer than two real or two
      generated images.
  """
  ratios = []
  for label in np.unique(real_labels):
    ours = generated[np.asarray(generated_labels) == label]
    theirs = real[np.asarray(real_labels) == label]
    if min(len(ours), len(theirs)) < 2:
      raise ValueError(
          f'class {label} has {len(ours)} generated and {len(theirs)} real'
          ' images, but diversity compares pairs. Provide at least 2 images of'
          ' every class.'
      )
    ratios.append(_spread(downsample(ours)) / _spread(downsample(theirs)))
  return float(np.mean(ratios)), float(np.min(ratios))


def novelty(
    generated: np.ndarray, train: np.ndarray, held_out: np.ndarray
) -> float:
  """Median distance to the closest training digit, relative to held-out digits.

  About 1 if generated digits are as new as held-out ones, near 0 if they are
  copies of training digits.
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
  """All figures of generated digits, by their key in the report.

  Args:
    generated: uint8[N, 32, 32, 3], every digit that was generated.
    generated_labels: int[N], the requested digits.
    train_images: uint8[M, 32, 32, 3], the real digits of the training split.
    train_labels: int[M].
    test_images: uint8[P, 32, 32, 3], the held-out real digits.
    test_labels: int[P].

  Returns:
    The figures classifier_accuracy, class_accuracy, diversity_mean,
    diversity_min, novelty and trained_on_generated. Diversity is relative to
    the training digits.
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
  # Row by row: exactly 0 for copies, and no array [N, M, F].
  return np.stack([np.linalg.norm(b - row, axis=-1) for row in a])


def _spread(points: np.ndarray) -> float:
  """Mean distance between two different points."""
  n = len(points)
  return float(_distances(points, points).sum() / (n * (n - 1)))
