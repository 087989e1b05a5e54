"""The best of many draws, by a score."""

from collections.abc import Callable
import dataclasses
import math

import jax
import numpy as np

from rq_jax.distributed import progress
from rq_jax.sampling import requests
from rq_jax.sampling.requests import Request

# Images uint8[B, Y, X, 3] -> scores float[B].
Score = Callable[[jax.Array], jax.Array | np.ndarray]
# Draws all images once: their indices, int64[B] -> codes, images.
Attempt = Callable[[np.ndarray], tuple[jax.Array, jax.Array]]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Selection:
  """The draws with the highest scores.

  Attributes:
    images: uint8[B, Y, X, 3].
    codes: int32[B, H, W, D].
    scores: float32[B].
    indices: Index of each draw among all images of the key, int64[B]; a call
      with `first_index` set to it draws the same image again.
  """

  images: np.ndarray
  codes: np.ndarray
  scores: np.ndarray
  indices: np.ndarray

  def __repr__(self) -> str:
    low, high = self.scores.min(), self.scores.max()
    return f'Selection({len(self.images)} images, scores {low:g} to {high:g})'


def check_n(n: int) -> None:
  """Raises a ValueError if `n` is not a number of draws."""
  if not isinstance(n, int | np.integer) or n < 1:
    raise ValueError(f'n={n} must be a whole number of at least 1.')


def check_rate(rate: float) -> None:
  """Raises a ValueError if `rate` is not an acceptance rate."""
  if not 0 < rate <= 1:
    raise ValueError(
        f'acceptance_rate={rate} must be in (0, 1]. 0.05 keeps one draw of 20.'
    )


def best_of(
    attempt: Attempt, score: Score, request: Request, n: int
) -> Selection:
  """The best of n draws of each image; see `Sampler.best_of`."""
  count = len(request.indices)
  return _select(attempt, score, request, np.arange(count), np.full(count, n))


def accepted(
    attempt: Attempt, score: Score, request: Request, rate: float
) -> Selection:
  """The best draws of each condition; see `Sampler.rejection_sample`."""
  _, groups = np.unique(request.condition, axis=0, return_inverse=True)
  groups = groups.ravel()
  # Slightly less, so that rounding does not add a draw.
  pools = np.ceil(np.bincount(groups) / rate - 1e-9).astype(np.int64)
  return _select(attempt, score, request, groups, pools)


def _select(
    attempt: Attempt,
    score: Score,
    request: Request,
    groups: np.ndarray,
    pools: np.ndarray,
) -> Selection:
  """Draws all images repeatedly and keeps the best draws of each group.

  Args:
    attempt: Draws all images once.
    score: Scores images.
    request: The images to draw.
    groups: Group of each image, int[B]; draws compete within a group.
    pools: Number of draws of each group, int[G].
  """
  count = len(groups)
  members = [np.flatnonzero(groups == g) for g in range(len(pools))]
  rounds = max(math.ceil(p / len(m)) for p, m in zip(pools, members))
  requests.check_last((int(request.indices.max()) + 1) * rounds - 1)
  first = request.indices.astype(np.int64) * rounds
  kept: list[Selection] = []
  with progress.bar(
      total=count * rounds, unit='image', desc='select', disable=None
  ) as bar:
    for turn in range(rounds):
      indices = first + turn
      codes, images = attempt(indices)
      found = Selection(
          images=np.asarray(images),
          codes=np.asarray(codes),
          scores=_scores(score, images, count),
          indices=indices,
      )
      for pool, rows in zip(pools, members):
        # The last round may hold more draws than the pool still needs.
        beyond = turn * len(rows) + np.arange(len(rows)) >= pool
        found.scores[rows[beyond]] = -np.inf
      kept = [_best([*kept, found], members)]
      bar.update(count)
  return kept[0]


def _scores(score: Score, images: jax.Array, count: int) -> np.ndarray:
  """A copy of the scores that the caller's function returns: float32[B]."""
  scores = np.array(score(images), np.float32)
  if scores.shape != (count,):
    raise ValueError(
        f'score must return one number per image, {count} in all; it returned'
        f' an array of shape {scores.shape}.'
    )
  if not np.isfinite(scores).all():
    row = int(np.flatnonzero(~np.isfinite(scores))[0])
    raise ValueError(
        f'score returned {scores[row]} for image {row}. Scores must be finite.'
    )
  return scores


def _best(found: list[Selection], members: list[np.ndarray]) -> Selection:
  """The best draws of each group, best first; of equal scores the earlier."""
  fields = ('images', 'codes', 'scores', 'indices')
  best = {name: np.copy(getattr(found[0], name)) for name in fields}
  for rows in members:
    scores = np.concatenate([part.scores[rows] for part in found])
    order = np.argsort(-scores, kind='stable')[: len(rows)]
    for name in fields:
      values = np.concatenate([getattr(part, name)[rows] for part in found])
      best[name][rows] = values[order]
  return Selection(**best)
