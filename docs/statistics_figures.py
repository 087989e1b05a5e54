r"""Measures the memory of the statistics of metrics, and their intervals.

  python docs/statistics_figures.py --figure=memory --dimensions=256
  python docs/statistics_figures.py --figure=intervals

`memory` streams 10,000 to 1,000,000 rows of features and logits and prints the
most memory that each statistic allocates. It takes about ten minutes on two CPU
cores, and about an hour with --dimensions=2048. `intervals` draws sets of
features from a known distribution. It prints how often the 95 % interval covers
the expected FID at the same number of images, and the mean error of the FID
extrapolated to infinitely many images. It takes about two minutes.
"""

from collections.abc import Callable
import json
import sys
import tracemalloc
from typing import Any

from absl import flags
import numpy as np
import tqdm

from rq_jax.cli import command
from rq_jax.evaluation import frechet
from rq_jax.evaluation import inception_score
from rq_jax.evaluation import moments
from rq_jax.evaluation import size_curve

# Rows that are added at once.
_CHUNK = 1000
_DIMENSIONS = 32
# Images per dimension, in simulations.
_RATIOS = (2, 5, 10, 25, 100)
_REPETITIONS = 200
# Images from which the limit is computed.
_MANY = 1_000_000


def peak(make: Callable[[int], Any], width: int, count: int) -> float:
  """Memory that a statistic allocates for `count` rows, in MB."""
  rows = np.random.default_rng(0).normal(size=(_CHUNK, width))
  rows = rows.astype(np.float32)
  tracemalloc.start()
  statistic = make(count)
  for _ in tqdm.trange(count // _CHUNK, leave=False):
    statistic.add(rows)
  highest = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  return highest / 1e6


def measure_memory(counts: list[int], dimensions: int) -> None:
  """Prints one line per statistic: MB by number of rows."""
  statistics = {
      'FID or sFID': (lambda _: moments.Moments(), dimensions),
      'FID, interval and curve': (
          lambda _: moments.GroupedMoments(),
          dimensions,
      ),
      'IS, 10 splits': (
          lambda n: inception_score.InceptionScore(n, splits=10),
          1008,
      ),
      'IS, 10 splits, shuffled': (
          lambda n: inception_score.InceptionScore(n, splits=10, seed=2020),
          1008,
      ),
      'IS, splits of 5000': (
          lambda n: inception_score.InceptionScore(n, split_size=5000),
          1008,
      ),
  }
  for name, (make, width) in statistics.items():
    found = {n: round(peak(make, width, n), 1) for n in counts}
    print(json.dumps({'statistic': name, 'MB by rows': found}), flush=True)


def draw(
    rng: np.random.Generator, count: int, *, scale: np.ndarray, mean: float
) -> np.ndarray:
  """Features with heavy tails, cut off as by a ReLU: float64[N, D]."""
  common = np.exp(0.3 * rng.normal(size=(count, 1)))
  drawn = mean * scale + scale * common * rng.standard_t(8, (count, len(scale)))
  return np.maximum(drawn, -0.6)


def measure_intervals() -> None:
  """Prints one line per number of images."""
  rng = np.random.default_rng(0)
  scale = np.exp(-np.arange(_DIMENSIONS) / 12)
  of_generated = scale * np.exp(0.2 * rng.normal(size=_DIMENSIONS))
  reference, many = moments.Moments(), moments.Moments()
  for _ in range(_MANY // 100_000):
    reference.add(draw(rng, 100_000, scale=scale, mean=0.0))
    many.add(draw(rng, 100_000, scale=of_generated, mean=0.1))
  mean, covariance = reference.mean, reference.covariance
  limit = frechet.distance(many.mean, many.covariance, mean, covariance)
  for ratio in _RATIOS:
    curves = []
    for _ in tqdm.trange(_REPETITIONS, leave=False):
      grouped = moments.GroupedMoments()
      size = ratio * _DIMENSIONS
      grouped.add(draw(rng, size, scale=of_generated, mean=0.1))
      curves.append(size_curve.curve(grouped, mean, covariance))
    values = np.array([curve.values[-1] for curve in curves])
    widths = np.array([curve.half_width for curve in curves])
    limits = [curve.limit for curve in curves if curve.limit is not None]
    covered = np.abs(values - values.mean()) < widths
    print(
        json.dumps(
            {
                'images per dimension': ratio,
                'covered': round(covered.mean(), 3),
                'FID': round(values.mean(), 4),
                'deviation': round(values.std(ddof=1), 4),
                'half width': round(widths.mean(), 4),
                'extrapolated': round(np.mean(limits), 4) if limits else None,
                'true limit': round(limit, 4),
            }
        ),
        flush=True,
    )


def _define_flags() -> flags.FlagValues:
  values = command.new_flags()
  flags.DEFINE_enum(
      'figure', 'intervals', ['memory', 'intervals'], 'What to measure.',
      flag_values=values,
  )  # fmt: skip
  flags.DEFINE_list(
      'rows', ['10000', '100000', '1000000'],
      'Numbers of rows for --figure=memory.', flag_values=values,
  )  # fmt: skip
  flags.DEFINE_integer(
      'dimensions', 2048, 'Width of a row of features for --figure=memory.',
      flag_values=values,
  )  # fmt: skip
  return values


def _measure(values: flags.FlagValues) -> None:
  if values.figure == 'memory':
    measure_memory([int(n) for n in values.rows], values.dimensions)
  else:
    measure_intervals()


if __name__ == '__main__':
  sys.exit(command.run(_define_flags(), sys.argv, __doc__, _measure))
