"""Figures of each class, and which class is best and which is worst.

With few images per class, most differences between classes are noise. So every
figure has a standard error, classes with too few images have no figure, and
`extremes` says whether the best and the worst class can be told apart.
"""

from collections.abc import Iterator
import dataclasses
import math
import statistics

import numpy as np

# Classes with fewer images have no figures: the errors would be too uncertain.
MIN_IMAGES = 20
# How often the best and the worst of equal classes are told apart by chance.
_FALSE_ALARMS = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByClass:
  """A figure of each of M classes.

  Attributes:
    values: float64[M]; NaN where there are too few images.
    errors: Standard errors, float64[M]; NaN like `values`.
    counts: Number of images that a figure is based on, int64[M]; if two sets
      are compared, that of the smaller one.
  """

  values: np.ndarray
  errors: np.ndarray
  counts: np.ndarray

  @property
  def enough(self) -> np.ndarray:
    """Whether a class has enough images, bool[M]."""
    return self.counts >= MIN_IMAGES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extremes:
  """The classes with the smallest and the largest value.

  Attributes:
    smallest: A class.
    largest: A class.
    distinct: Whether their difference is larger than chance explains, at a
      level of 5 % over all pairs of classes (Bonferroni).
    left_out: Number of classes with too few images.
  """

  smallest: int
  largest: int
  distinct: bool
  left_out: int


def kernel_distances(
    features: np.ndarray,
    labels: np.ndarray,
    reference: np.ndarray,
    reference_labels: np.ndarray,
    *,
    num_classes: int,
) -> ByClass:
  """Kernel distance (KID) between the images of each class; 0 is best.

  It is the squared maximum mean discrepancy with the kernel (x y / D + 1)^3 of
  Binkowski et al. (ICLR 2018). The estimate is unbiased: it may be below 0, and
  unlike FID, its mean does not depend on the number of images. Errors are those
  of the jackknife over the images of both sets; between equal distributions,
  they are too large by a factor of up to 1.4 (Efron and Stein, 1981).

  Args:
    features: Features of generated images, float[N, D].
    labels: Their classes, int[N].
    reference: Features of reference images, float[N', D].
    reference_labels: Their classes, int[N'].
    num_classes: Number of classes, M.

  Raises:
    ValueError: If features are not finite, or a label is no class.
  """
  groups = zip(
      _groups(features, labels, num_classes, 'generated'),
      _groups(reference, reference_labels, num_classes, 'reference'),
  )
  values, errors, counts = [], [], []
  for x, y in groups:
    counts.append(min(len(x), len(y)))
    figure = (math.nan, math.nan)
    if counts[-1] >= MIN_IMAGES:
      figure = kernel_distance(x, y)
    values.append(figure[0])
    errors.append(figure[1])
  return ByClass(
      values=np.array(values, np.float64),
      errors=np.array(errors, np.float64),
      counts=np.array(counts, np.int64),
  )


def kernel_distance(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
  """Unbiased kernel distance of all images, and its standard error.

  Memory grows with the square of the number of images; it is meant for the few
  images of one class.

  Args:
    x: Features, float[N, D] with N of at least 3.
    y: Other features, float[N', D] with N' of at least 3.
  """
  x, y = x.astype(np.float64), y.astype(np.float64)
  # Sums over the other images of a set, and over the images of the other set.
  xx, yy = (_kernel(z, z) for z in (x, y))
  np.fill_diagonal(xx, 0)
  np.fill_diagonal(yy, 0)
  xy = _kernel(x, y)
  own = [xx.sum(axis=1), yy.sum(axis=1)]
  cross = [xy.sum(axis=1), xy.sum(axis=0)]
  sizes = (len(x), len(y))
  within = [s.sum() / (n * (n - 1)) for s, n in zip(own, sizes)]
  value = within[0] + within[1] - 2 * cross[0].sum() / (sizes[0] * sizes[1])
  variance = 0.0
  for i, n in enumerate(sizes):
    # The distance without each of the images of this set.
    left = (own[i].sum() - 2 * own[i]) / ((n - 1) * (n - 2)) + within[1 - i]
    left -= 2 * (cross[i].sum() - cross[i]) / ((n - 1) * sizes[1 - i])
    variance += (n - 1) / n * np.sum((left - left.mean()) ** 2)
  return float(value), math.sqrt(variance)


def agreement(
    predicted: np.ndarray, labels: np.ndarray, *, num_classes: int
) -> ByClass:
  """Share of the images of each class that a classifier recognises; 1 is best.

  Errors are those of Wilson's interval, so they are not 0 where all images are
  recognised, or none.

  Args:
    predicted: Classes that the classifier finds most likely, int[N].
    labels: Classes that the images were generated for, int[N].
    num_classes: Number of classes, M.

  Raises:
    ValueError: If a label is no class, or the lengths differ.
  """
  right = np.asarray(predicted) == labels
  values, errors, counts = [], [], []
  for (group,) in map(
      np.transpose, _groups(right[:, None], labels, num_classes, 'generated')
  ):
    n = len(group)
    counts.append(n)
    if n < MIN_IMAGES:
      values.append(math.nan)
      errors.append(math.nan)
      continue
    p = float(np.mean(group))
    values.append(p)
    errors.append(math.sqrt(p * (1 - p) / n + 1 / (4 * n**2)) / (1 + 1 / n))
  return ByClass(
      values=np.array(values, np.float64),
      errors=np.array(errors, np.float64),
      counts=np.array(counts, np.int64),
  )


def extremes(figures: ByClass) -> Extremes | None:
  """The classes with the smallest and the largest value.

  Returns:
    None if fewer than two classes have enough images.
  """
  classes = np.flatnonzero(figures.enough)
  if len(classes) < 2:
    return None
  values = figures.values[classes]
  low, high = (int(classes[f(values)]) for f in (np.argmin, np.argmax))
  difference = figures.values[high] - figures.values[low]
  error = math.hypot(figures.errors[high], figures.errors[low])
  pairs = math.comb(len(classes), 2)
  bound = statistics.NormalDist().inv_cdf(1 - _FALSE_ALARMS / (2 * pairs))
  return Extremes(
      smallest=low,
      largest=high,
      distinct=bool(difference > bound * error),
      left_out=len(figures.counts) - len(classes),
  )


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
  return (x @ y.T / x.shape[1] + 1) ** 3


def _groups(
    rows: np.ndarray, labels: np.ndarray, num_classes: int, name: str
) -> Iterator[np.ndarray]:
  """The rows of each class, in the order of classes."""
  labels = np.asarray(labels)
  if len(rows) != len(labels):
    raise ValueError(
        f'There are {len(rows)} {name} images, but {len(labels)} labels. Give'
        ' one label for each image.'
    )
  wrong = labels[(labels < 0) | (labels >= num_classes)]
  if wrong.size:
    raise ValueError(
        f'The {name} images have the label {wrong[0]}, but labels must be in'
        f' [0, {num_classes - 1}]. Give labels of the same classes.'
    )
  finite = np.isfinite(rows).all(axis=1)
  if not finite.all():
    raise ValueError(
        f'Features of the {name} image {int(np.argmin(finite))} are not finite.'
        ' Check the images and the network.'
    )
  order = np.argsort(labels, kind='stable')
  ends = np.cumsum(np.bincount(labels, minlength=num_classes))
  return (rows[order[start:end]] for start, end in zip([0, *ends[:-1]], ends))
