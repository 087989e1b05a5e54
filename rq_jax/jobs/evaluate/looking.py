"""What to look at on the page: possible copies, best and worst classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rq_jax.evaluation import classes as classes_lib
from rq_jax.evaluation import nearest
from rq_jax.evaluation import rows as feature_rows
from rq_jax.jobs.evaluate import distances
from rq_jax.jobs.evaluate import measuring

# Samples whose nearest reference images are searched; time grows with them.
_SEARCHED = 4096
_PAIRS = 8
_LISTED = 5  # Best and worst classes.


def copies(comparison: distances.Comparison) -> dict[str, Any] | None:
  """The samples that are nearest to an image of the reference.

  Returns:
    'features', the name of the array that is compared; 'searched', the number
    of samples; 'pairs', each with 'sample', 'reference' and 'distance', the
    nearest first. None without images of a reference.
  """
  if comparison.reference is None:
    return None
  here = [name for net in comparison.samples.networks for name in net.names]
  there = [name for net in comparison.reference.networks for name in net.names]
  name = next((n for n in here if n in there), None)
  if name is None:
    return None
  rows = comparison.samples.first(name, _SEARCHED)
  search = nearest.Search(rows, k=1)
  for others in comparison.reference.rows(name):
    comparison.check()
    search.add(others)
  found = search.result()
  order = np.argsort(found.distances[:, 0], kind='stable')[:_PAIRS]
  return {
      'features': name,
      'searched': len(rows),
      'pairs': [
          {
              'sample': int(i),
              'reference': int(found.indices[i, 0]),
              'distance': float(found.distances[i, 0]),
          }
          for i in order
      ],
  }


def best_and_worst(
    comparison: distances.Comparison, known: measuring.Known
) -> dict[str, Any] | None:
  """The classes of the samples with the best and the worst figures.

  The figure is the share of images whose class the classifier recognises, or
  else the kernel distance to the images of the same class in the reference.

  Returns:
    'figure', its name; 'best' and 'worst', lists of classes with 'class',
    'value', 'error' and 'images'; 'distinct', whether the first of both can be
    told apart; 'left_out', the number of classes with too few images. None if
    there are no classes, or too few images of them.
  """
  labels = known.labels
  figures = None if labels is None else _figures(comparison, known, labels)
  extremes = None if figures is None else classes_lib.extremes(figures[1])
  if figures is None or extremes is None:
    return None
  name, by_class = figures
  enough = np.flatnonzero(by_class.enough)
  order = enough[np.argsort(by_class.values[enough], kind='stable')]
  if name == 'class_accuracy':
    order = order[::-1]  # The largest is the best.

  def described(chosen: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            'class': int(c),
            'value': float(by_class.values[c]),
            'error': float(by_class.errors[c]),
            'images': int(by_class.counts[c]),
        }
        for c in chosen
    ]

  return {
      'figure': name,
      'best': described(order[:_LISTED]),
      'worst': described(order[::-1][:_LISTED]),
      'distinct': extremes.distinct,
      'left_out': extremes.left_out,
  }


def _figures(
    comparison: distances.Comparison,
    known: measuring.Known,
    labels: np.ndarray,
) -> tuple[str, classes_lib.ByClass] | None:
  samples, reference = comparison.samples, comparison.reference
  count = samples.images.num_classes or int(labels.max()) + 1
  names = {name for network in samples.networks for name in network.names}
  if known.class_scores is not None and 'classifier/logits' in names:
    predicted = [
        known.class_scores(rows).argmax(axis=1)
        for rows in samples.rows('classifier/logits')
    ]
    return 'class_accuracy', classes_lib.agreement(
        np.concatenate(predicted), labels, num_classes=count
    )
  others = None if reference is None else reference.images.labels
  if reference is None or others is None or int(others.max()) >= count:
    return None
  there = (name for network in reference.networks for name in network.names)
  name = next((n for n in there if n in names and n.endswith('/pool')), None)
  largest = max(len(samples.images), len(reference.images))
  if name is None or largest > feature_rows.MAX_FEATURES:
    return None
  return 'kernel distance', classes_lib.kernel_distances(
      samples.together(name),
      labels,
      reference.together(name),
      others,
      num_classes=count,
  )


def class_name(found: Mapping[str, Any], names: Any) -> str:
  """Name of a class of `best_and_worst`, or its number."""
  number = found['class']
  return str(number) if names is None else names[number]
