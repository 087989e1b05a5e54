"""Computes the metrics of an evaluation from the features of its images."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math
from typing import Any

import numpy as np

from rq_jax.distributed import progress
from rq_jax.evaluation import clip_score
from rq_jax.evaluation import inception_score
from rq_jax.evaluation import intervals
from rq_jax.evaluation import kernel_distance
from rq_jax.evaluation import precision_recall
from rq_jax.jobs.evaluate import distances
from rq_jax.jobs.evaluate import plan as plan_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
  """What is known of the samples apart from their features.

  Attributes:
    labels: Class of each image, int32[N]; None if they have no classes.
    class_scores: Function from logits of the classifier to log-probabilities of
      the classes of the samples, float64[n, classes]; None without one.
    texts: Function that returns the embedding of each sample's prompt,
      float[N, width]; None without prompts.
  """

  labels: np.ndarray | None = None
  class_scores: Callable[[np.ndarray], np.ndarray] | None = None
  texts: Callable[[], np.ndarray] | None = None


def measure(
    measures: Sequence[plan_lib.Measure],
    comparison: distances.Comparison,
    known: Known,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
  """Computes metrics.

  Returns:
    One record per value, and why metrics are left out. A record has the keys
    'metric', 'dialect', 'value', 'interval' (95 %, or None), 'n', and, where
    they apply, 'n_reference', 'deviation', 'note', 'no_interval' and 'curve'.

  Raises:
    ValueError: If no metric can be computed.
  """
  results, left_out, done = [], {}, {}
  with progress.bar(total=len(measures), unit='metric', desc='metrics') as bar:
    for wanted in measures:
      bar.set_postfix_str(wanted.title)
      key = _same_value(wanted)
      try:
        if key not in done:
          done[key] = _values(wanted, comparison, known)
      except ValueError as error:
        left_out[wanted.title] = str(error)
      else:
        results += _records(wanted, done[key], comparison)
      bar.update()
  if not results:
    raise ValueError(' '.join(dict.fromkeys(left_out.values())))
  return results, left_out


def _records(
    wanted: plan_lib.Measure,
    values: Mapping[str, Mapping[str, Any]],
    comparison: distances.Comparison,
) -> list[dict[str, Any]]:
  count = len(comparison.samples.images)
  dialect = wanted.dialect and wanted.dialect.name
  return [
      {'metric': name, 'dialect': dialect, **_record(found, count)}
      for name, found in values.items()
  ]


def _same_value(wanted: plan_lib.Measure) -> tuple[str, str]:
  """Equal for metrics that have the same value in two dialects."""
  distance = wanted.metric in ('fid', 'sfid')
  return wanted.name, wanted.metric if distance else wanted.title


def _record(found: Mapping[str, Any], count: int) -> dict[str, Any]:
  value, half = found['value'], found.get('half_width')
  rest = {n: v for n, v in found.items() if n not in ('value', 'half_width')}
  interval = None
  if half is not None and math.isfinite(half):
    interval = [value - half, value + half]
  return {'value': value, 'interval': interval, 'n': count, **rest}


def _values(
    wanted: plan_lib.Measure, comparison: distances.Comparison, known: Known
) -> dict[str, dict[str, Any]]:
  """Values by name; precision and recall are two."""
  metric, name = wanted.metric, wanted.name
  if metric in ('fid', 'sfid', 'clip_fid', 'classifier_fid'):
    return {metric: distances.frechet_distance(comparison, name)}
  if metric == 'is':
    return {metric: _inception_score(wanted, comparison)}
  if metric == 'kid':
    return {metric: _kernel_distance(wanted, comparison)}
  if metric == 'precision_recall':
    return _precision_recall(wanted, comparison)
  if metric == 'class_accuracy':
    return {metric: _class_accuracy(name, comparison, known)}
  if metric == 'clip_score':
    return {metric: _clip_score(name, comparison, known)}
  rows = comparison.samples.together(name)[:, 0].astype(np.float64)
  return {metric: _mean(rows, comparison)}


def _inception_score(
    wanted: plan_lib.Measure, comparison: distances.Comparison
) -> dict[str, Any]:
  settings = wanted.dialect and wanted.dialect.inception_score
  assert settings
  score = inception_score.InceptionScore(
      len(comparison.samples.images),
      splits=settings.splits,
      split_size=settings.split_size,
      seed=settings.seed,
  )
  for rows in comparison.samples.rows(wanted.name):
    comparison.check()
    score.add(rows)
  value, deviation = score.score(ddof=settings.ddof or 0)
  found: dict[str, Any] = {'value': value}
  if settings.ddof is not None:
    found['deviation'] = deviation
  return found | _half_width(comparison, score.half_width)


def _kernel_distance(
    wanted: plan_lib.Measure, comparison: distances.Comparison
) -> dict[str, Any]:
  settings = wanted.dialect and wanted.dialect.kernel_distance
  assert settings
  rows = comparison.samples.together(wanted.name)
  others = comparison.reference_rows(wanted.name)
  size = settings.subset_size
  if settings.reduces_size:
    size = min(size, len(rows), len(others))
  value, deviation = kernel_distance.distance(
      rows,
      others,
      subsets=settings.subsets,
      subset_size=size,
      seed=settings.seed,
  )
  found = {
      'value': value,
      'deviation': deviation,
      'n_reference': len(others),
  }
  return found | _half_width(
      comparison, lambda: kernel_distance.half_width(rows, others)
  )


def _precision_recall(
    wanted: plan_lib.Measure, comparison: distances.Comparison
) -> dict[str, dict[str, Any]]:
  settings = wanted.dialect and wanted.dialect.precision_recall
  assert settings
  others = comparison.reference_rows(wanted.name)
  precision, recall = precision_recall.precision_recall(
      others,
      comparison.samples.together(wanted.name),
      k=settings.k,
      half=settings.half,
  )
  count = {'n_reference': len(others)}
  return {
      'precision': {'value': precision, **count},
      'recall': {'value': recall, **count},
  }


def _class_accuracy(
    name: str, comparison: distances.Comparison, known: Known
) -> dict[str, Any]:
  scores, labels = known.class_scores, known.labels
  assert scores is not None and labels is not None
  best = [scores(rows).argmax(axis=1) for rows in comparison.samples.rows(name)]
  return _mean((np.concatenate(best) == labels).astype(float), comparison)


def _clip_score(
    name: str, comparison: distances.Comparison, known: Known
) -> dict[str, Any]:
  assert known.texts is not None
  images = comparison.samples.together(name)
  return _mean(clip_score.cosines(images, known.texts()), comparison)


def _mean(
    values: np.ndarray, comparison: distances.Comparison
) -> dict[str, Any]:
  """The mean of one value per image, such as the PSNR."""
  if np.isnan(values).any():
    at = int(np.isnan(values).argmax())
    raise ValueError(f'The value of image {at} is not a number.')
  if equal := int(np.isinf(values).sum()):
    raise ValueError(
        f'{equal} of {len(values)} pairs are equal, so the mean is infinite.'
    )
  found = {'value': float(values.mean())}
  return found | _half_width(
      comparison, lambda: intervals.half_width_of_mean(values)
  )


def _half_width(
    comparison: distances.Comparison, compute: Callable[[], float]
) -> dict[str, Any]:
  """Half the width of an interval, or why there is none."""
  if not comparison.intervals:
    return {}
  try:
    return {'half_width': compute()}
  except ValueError as error:
    return {'no_interval': str(error)}
