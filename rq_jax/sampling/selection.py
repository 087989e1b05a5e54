"""The best of many draws, by a score."""

from collections.abc import Callable
import dataclasses
import functools

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
      with these `indices` draws the same images again.
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


def check_rate(rate: float, name: str = 'acceptance_rate') -> None:
  """Raises a ValueError if `rate` is not an acceptance rate.

  Args:
    rate: The rate.
    name: Name of the argument or flag, for the error.
  """
  if not 0 < rate <= 1:
    raise ValueError(
        f'{name}={rate} must be in (0, 1]. 0.05 keeps one draw of 20.'
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pools:
  """Which draws compete for which images.

  The images of a group keep the best draws of its pool. With R rounds, the draw
  of image i in round r has the index i * R + r. A pool holds the draws of its
  images, round by round, and ends within the last round.

  Attributes:
    order: Numbers of all images, sorted by group, int[B].
    counts: Number of images of each group, int[G].
    sizes: Number of draws in the pool of each group, int64[G].
  """

  order: np.ndarray
  counts: np.ndarray
  sizes: np.ndarray

  @functools.cached_property
  def rounds(self) -> int:
    """Number of rounds, R, that the largest pool needs."""
    return int(np.max(-(-self.sizes // self.counts)))

  @functools.cached_property
  def total(self) -> int:
    """Number of draws in all pools."""
    return int(self.sizes.sum())

  def members(self, group: int) -> np.ndarray:
    """Numbers of the images of a group, ascending."""
    first = self._first[group]
    return self.order[first : first + self.counts[group]]

  def draws(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image and the index of draws, which are counted through all pools.

    Args:
      numbers: Numbers of draws, int64[n] in [0, total): first those of the
        first pool, in its order, then those of the second.

    Returns:
      Numbers of the images that the draws compete for, int[n], and the indices
      of the draws, int64[n].
    """
    groups = np.searchsorted(self._ends, numbers, side='right')
    places = numbers - (self._ends - self.sizes)[groups]
    counts = self.counts[groups]
    images = self.order[self._first[groups] + places % counts]
    indices = images.astype(np.int64) * self.rounds + places // counts
    return images, indices

  def range(self, group: int) -> range:
    """Numbers of the draws of a group, as `draws` takes them."""
    end = int(self._ends[group])
    return range(end - int(self.sizes[group]), end)

  @functools.cached_property
  def _first(self) -> np.ndarray:
    """Where the images of each group begin in `order`, int[G]."""
    return np.cumsum(self.counts) - self.counts

  @functools.cached_property
  def _ends(self) -> np.ndarray:
    """One more than the number of the last draw of each group, int64[G]."""
    return np.cumsum(self.sizes)


def pools(conditions: np.ndarray, rate: float) -> Pools:
  """Pools in which the images of each condition compete.

  Args:
    conditions: Condition of each image, int[B, length].
    rate: Share of the draws to keep. m images keep the best of m / rate draws,
      rounded up.
  """
  _, groups, counts = np.unique(
      conditions, axis=0, return_inverse=True, return_counts=True
  )
  return Pools(
      order=np.argsort(groups.ravel(), kind='stable'),
      counts=counts,
      # Slightly less, so that rounding does not add a draw.
      sizes=np.ceil(counts / rate - 1e-9).astype(np.int64),
  )


def best_of(
    attempt: Attempt, score: Score, request: Request, n: int
) -> Selection:
  """The best of n draws of each image; see `Sampler.best_of`."""
  count = len(request.indices)
  own = Pools(
      order=np.arange(count),
      counts=np.ones(count, np.int64),
      sizes=np.full(count, n, np.int64),
  )
  return _select(attempt, score, request, own)


def accepted(
    attempt: Attempt, score: Score, request: Request, rate: float
) -> Selection:
  """The best draws of each condition; see `Sampler.rejection_sample`."""
  competing = pools(np.asarray(request.condition), rate)
  return _select(attempt, score, request, competing)


def _select(
    attempt: Attempt, score: Score, request: Request, pools: Pools
) -> Selection:
  """Draws all images repeatedly and keeps the best draws of each group.

  Args:
    attempt: Draws all images once.
    score: Scores images.
    request: The images to draw.
    pools: Which draws compete.
  """
  count, rounds = len(pools.order), pools.rounds
  members = [pools.members(g) for g in range(len(pools.counts))]
  requests.check_last((int(request.indices.max()) + 1) * rounds - 1)
  first = np.asarray(request.indices, np.int64) * rounds
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
      for pool, rows in zip(pools.sizes, members):
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


def best(scores: np.ndarray, count: int) -> np.ndarray:
  """Places of the highest scores, best first; of equal scores the earlier.

  Args:
    scores: float[n], in the order of the draws.
    count: Number of places, at most n.
  """
  return np.argsort(-scores, kind='stable')[:count]


def _best(found: list[Selection], members: list[np.ndarray]) -> Selection:
  """The best draws of each group, best first; of equal scores the earlier."""
  fields = ('images', 'codes', 'scores', 'indices')
  kept = {name: np.copy(getattr(found[0], name)) for name in fields}
  for rows in members:
    scores = np.concatenate([part.scores[rows] for part in found])
    order = best(scores, len(rows))
    for name in fields:
      values = np.concatenate([getattr(part, name)[rows] for part in found])
      kept[name][rows] = values[order]
  return Selection(**kept)
