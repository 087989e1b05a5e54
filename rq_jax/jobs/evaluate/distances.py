"""Frechet distances of an evaluation, and the statistics that they compare."""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
from typing import Any

import numpy as np

from rq_jax.evaluation import frechet
from rq_jax.evaluation import moments
from rq_jax.evaluation import references
from rq_jax.evaluation import size_curve
from rq_jax.jobs import chunks
from rq_jax.jobs.evaluate import features
from rq_jax.jobs.evaluate import image_sets

# Arrays whose statistics a reference file holds, and its fields for them.
_FIELDS = {
    'pool': ('mean', 'covariance'),
    'spatial': ('spatial_mean', 'spatial_covariance'),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
  """The samples, and what they are compared with.

  Attributes:
    samples: The features of the samples.
    reference: The features of the images of the reference; None without them.
    statistics: What a file of statistics holds; None without one.
    intervals: Whether to compute intervals, and FID against N.
    check: Called regularly; see `chunks.Check`.
  """

  samples: features.Part
  reference: features.Part | None
  statistics: references.Reference | None
  intervals: bool
  check: chunks.Check

  def reference_rows(self, name: str) -> np.ndarray:
    """All rows of an array of the reference, float32[M, width]."""
    held = self.statistics and self.statistics.features
    if held is not None and name.endswith('/pool'):
      return held
    assert self.reference is not None
    return self.reference.together(name)

  def reference_moments(
      self, name: str
  ) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Mean, covariance and number of the rows of an array of the reference."""
    fields = _FIELDS.get(name.partition('/')[2])
    if self.statistics is not None and fields is not None:
      mean, covariance = (getattr(self.statistics, field) for field in fields)
      if mean is not None:
        return mean, covariance, self.statistics.count
    assert self.reference is not None
    total = of_part(self.reference, name, self.check)
    return total.mean, total.covariance, total.count


def of_part(
    part: features.Part, name: str, check: chunks.Check
) -> moments.Moments:
  """The moments of the rows of an array, added in the order of chunks."""
  total = moments.Moments()
  for rows in part.rows(name):
    check()
    total.add(rows)
  return total


def frechet_distance(comparison: Comparison, name: str) -> dict[str, Any]:
  """The distance of an array: value, interval and FID against N.

  Raises:
    ValueError: If there are too few images.
  """
  total, groups = moments.Moments(), moments.GroupedMoments()
  for rows in comparison.samples.rows(name):
    comparison.check()
    total.add(rows)
    if comparison.intervals:
      groups.add(rows)
  mean, covariance, count = comparison.reference_moments(name)
  value = frechet.distance(total.mean, total.covariance, mean, covariance)
  found: dict[str, Any] = {'value': value, 'n_reference': count}
  fewest = min(n for n in (total.count, count) if n is not None)
  if fewest <= len(mean):
    found['note'] = (
        f'{fewest:,} images are fewer than the {len(mean):,} features, so most'
        ' of the distance may be its bias.'
    )
  if not comparison.intervals:
    return found
  try:
    curve = size_curve.curve(groups, mean, covariance)
  except ValueError as error:
    return found | {'no_interval': str(error)}
  return found | {
      'half_width': curve.half_width,
      'curve': {'n': curve.sizes, 'fid': curve.values, 'limit': curve.limit},
  }


def reference_of(
    comparison: Comparison,
    images: image_sets.ImageSet,
    network: str,
    description: Mapping[str, Any],
) -> references.Reference:
  """The statistics of the images of the reference, to describe and store them.

  Args:
    comparison: The features.
    images: The images of the reference.
    network: First part of the names of its arrays.
    description: What decides the features of the network.
  """
  part, found = comparison.reference, {}
  names = {n for net in (part.networks if part else ()) for n in net.names}
  for array, fields in _FIELDS.items():
    if part is not None and (name := f'{network}/{array}') in names:
      total = of_part(part, name, comparison.check)
      found |= dict(zip(fields, (total.mean, total.covariance), strict=True))
  identity = {n: v for n, v in images.described().items() if n != 'path'}
  text = json.dumps(identity, sort_keys=True)
  return references.Reference(
      **found,
      count=len(images),
      description={
          'file': None,
          'sha256': hashlib.sha256(text.encode()).hexdigest(),
          'known': None,
          'layout': 'rq_jax',
          'network': description.get('network'),
          'weights': description.get('weights'),
          'sources': [identity],
      },
  )
