"""Inception Score (Salimans et al. 2016) of a stream of logits.

    exp(mean over images of KL(p(class | image) || p(class)))

where p(class) is the mean over the images of a split. With q = p(class), the
mean is sum p log p / N - sum q log q, so sums of p and of p log p are enough.
"""

import dataclasses

import numpy as np

from rq_jax.evaluation import intervals
from rq_jax.evaluation import rows as logit_rows

# Rows of a block: 4 MB at 1008 classes.
_BLOCK = 512


def score(
    logits: np.ndarray,
    *,
    splits: int | None = None,
    split_size: int | None = None,
    seed: int | None = None,
    ddof: int = 0,
) -> tuple[float, float]:
  """Mean and standard deviation of the scores of the splits.

  Args:
    logits: float[N, classes].
    splits: See `InceptionScore`.
    split_size: See `InceptionScore`.
    seed: See `InceptionScore`.
    ddof: See `InceptionScore.score`.
  """
  result = InceptionScore(
      len(logits), splits=splits, split_size=split_size, seed=seed
  )
  result.add(logits)
  return result.score(ddof=ddof)


@dataclasses.dataclass
class _Split:
  """Sums over the images of a split, by group of `intervals`.

  Attributes:
    counts: Numbers of images: int64[GROUPS].
    p: Sums of the probabilities: float64[GROUPS, classes].
    p_log_p: Sums of p log p: float64[GROUPS].
  """

  counts: np.ndarray
  p: np.ndarray
  p_log_p: np.ndarray


class InceptionScore:
  """Adds logits and returns the Inception Score and its interval.

  Memory does not depend on the number of images, except with a seed, where it
  holds four bytes per image. Given equal logits in equal order, the results are
  identical bits, however they were divided into calls of `add`.
  """

  def __init__(
      self,
      count: int,
      *,
      splits: int | None = None,
      split_size: int | None = None,
      seed: int | None = None,
  ):
    """Divides the images into splits.

    Args:
      count: Number of images N.
      splits: Number of splits; split i has the images from i N // splits to
        (i + 1) N // splits, as in torch-fidelity and the authors' code. None
        if `split_size` is given.
      split_size: Number of images of all splits but the last, which has the
        rest, as in ADM. None if `splits` is given.
      seed: Images are shuffled before they are divided, in the order of
        `np.random.RandomState(seed).permutation(count)`, as in torch-fidelity
        with 2020. None keeps their order.

    Raises:
      ValueError: If neither or both of `splits` and `split_size` are given, or
        if there are fewer images than splits.
    """
    self._ends = _ends(count, splits, split_size)
    self._count = count
    self._shuffled = None if seed is None else _shuffled(self._ends, seed)
    self._blocks = logit_rows.Blocks(_BLOCK, 'logits')
    self._open: dict[int, _Split] = {}
    # Scores of closed splits: of all images, and without each group.
    self._closed: dict[int, list[float]] = {}

  def add(self, logits: np.ndarray) -> None:
    """Adds the logits of the next images: float[N, classes].

    Raises:
      ValueError: If a row holds NaN or infinity, or if there are more images
        than were announced.
    """
    if self._blocks.count + len(logits) > self._count:
      raise ValueError(
          f'Logits of {self._blocks.count + len(logits)} images were added, '
          f'but {self._count} were announced.'
      )
    if not len(logits):
      return
    for block in self._blocks.add(logits):
      self._add_block(block, self._blocks.block)
    if self._blocks.count == self._count and self._blocks.waiting:
      self._add_block(self._blocks.rest(), self._blocks.block)

  def score(self, *, ddof: int = 0) -> tuple[float, float]:
    """Mean and standard deviation of the scores of the splits.

    Args:
      ddof: The divisor of the variance is the number of splits minus `ddof`: 0
        in torch-fidelity, 1 in the authors' code.

    Raises:
      ValueError: If fewer images were added than announced, or if there are not
        more splits than `ddof`.
    """
    if len(self._ends) <= ddof:
      raise ValueError(
          f'A standard deviation with ddof={ddof} needs more than '
          f'{len(self._ends)} splits. Evaluate more images, or use more splits.'
      )
    scores = self._scores()[:, 0]
    return float(scores.mean()), float(scores.std(ddof=ddof))

  def half_width(self) -> float:
    """Half the width of the 95 % interval of the mean (see `intervals`).

    Raises:
      ValueError: If a split has fewer than 32 images.
    """
    intervals.check_number(np.diff(self._ends, prepend=0).min())
    return intervals.half_width(self._scores()[:, 1:].mean(axis=0))

  def _scores(self):
    """Scores of all images, and without each group: [splits, 1 + GROUPS]."""
    if self._blocks.count != self._count:
      raise ValueError(
          f'Logits of {self._blocks.count} images were added, but '
          f'{self._count} were announced.'
      )
    return np.array([self._closed[i] for i in range(len(self._ends))])

  def _add_block(self, block, index):
    """Adds rows to their splits and groups; closes splits that are complete."""
    log_p = block - block.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    p = np.exp(log_p)
    p_log_p = (p * log_p).sum(axis=1)
    first = index * _BLOCK
    last = first + len(block)
    groups = intervals.groups_of_block(index, len(block))
    if self._shuffled is None:
      splits = np.searchsorted(self._ends, np.arange(first, last), 'right')
    else:
      splits = self._shuffled[first:last]
    for split in np.unique(splits):
      rows = splits == split
      member = groups[rows] == np.arange(intervals.GROUPS)[:, None]
      added = _Split(
          member.sum(axis=1),
          member.astype(np.float64) @ p[rows],
          member.astype(np.float64) @ p_log_p[rows],
      )
      self._open[split] = _with(self._open.get(split), added)
    complete = self._ends <= last
    if self._shuffled is not None:
      complete[:] = last == self._count
    for split in sorted(self._open):
      if complete[split]:
        self._closed[split] = _split_scores(self._open.pop(split))


def _ends(count, splits, split_size):
  """The index after the last image of each split: int64[splits]."""
  if (splits is None) == (split_size is None):
    raise ValueError(
        f'splits is {splits} and split_size is {split_size}. Give one of them.'
    )
  parts, size = (1, split_size) if splits is None else (splits, 1)
  if not 1 <= parts <= count or size < 1:
    raise ValueError(
        f'{count} images cannot be divided: splits is {splits} and split_size '
        f'is {split_size}. Evaluate more images, or use fewer splits.'
    )
  if splits is None:
    return np.minimum(np.arange(0, count, split_size) + split_size, count)
  return np.arange(1, splits + 1) * count // splits


def _with(split, added):
  if split is None:
    return added
  return _Split(
      split.counts + added.counts,
      split.p + added.p,
      split.p_log_p + added.p_log_p,
  )


def _split_scores(split):
  """Scores of a split: of all its images, and without each group."""
  counts, p, p_log_p = split.counts.sum(), split.p.sum(0), split.p_log_p.sum()
  return [
      _score(counts, p, p_log_p),
      *(
          _score(counts - count, p - group_p, p_log_p - group_p_log_p)
          for count, group_p, group_p_log_p in zip(
              split.counts, split.p, split.p_log_p
          )
      ),
  ]


def _score(count, p, p_log_p):
  """Score of images, from the sums over them."""
  if not count:
    return np.nan  # A split of few images has all of them in one group.
  q = np.maximum(p / count, np.finfo(np.float64).tiny)
  return float(np.exp(p_log_p / count - (q * np.log(q)).sum()))


def _shuffled(ends, seed):
  """The split of each image, in the images' order: int32[N]."""
  order = np.random.RandomState(seed).permutation(ends[-1])
  splits = np.empty(ends[-1], np.int32)
  splits[order] = np.searchsorted(ends, np.arange(ends[-1]), 'right')
  return splits
