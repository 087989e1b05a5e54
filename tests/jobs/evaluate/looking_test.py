"""The best and the worst classes of an evaluation."""

import types

import numpy as np

from rq_jax.jobs.evaluate import distances
from rq_jax.jobs.evaluate import looking
from rq_jax.jobs.evaluate import measuring

LABELS = np.repeat(np.arange(3, dtype=np.int32), 40)


def part(name, rows, labels=LABELS, num_classes=None):
  """Features of images, in one chunk."""
  return types.SimpleNamespace(
      images=types.SimpleNamespace(
          labels=labels,
          num_classes=num_classes,
          __len__=lambda: len(rows),
      ),
      networks=[types.SimpleNamespace(names=[name])],
      rows=lambda _: iter([rows]),
      together=lambda _: rows,
  )


def comparison(samples, reference=None):
  return distances.Comparison(
      samples=samples,
      reference=reference,
      statistics=None,
      intervals=False,
      check=lambda: None,
  )


def test_the_class_that_is_recognised_most_often_is_the_best():
  logits = np.zeros((120, 3), np.float32)
  logits[np.arange(120), LABELS] = 1
  logits[40:48] = [2, 0, 0]  # Of class 1.
  logits[80:110] = [2, 0, 0]  # Of class 2.
  known = measuring.Known(labels=LABELS, class_scores=lambda rows: rows)
  found = looking.best_and_worst(
      comparison(part('classifier/logits', logits)), known
  )
  assert found['figure'] == 'class_accuracy'
  assert [entry['class'] for entry in found['best']] == [0, 1, 2]
  assert [entry['value'] for entry in found['worst']] == [0.25, 0.8, 1]


def test_references_of_other_classes_give_no_figures():
  rows = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
  known = measuring.Known(labels=LABELS)
  samples = part('inception/pool', rows, num_classes=3)
  others = part('inception/pool', rows, labels=LABELS + 1)
  assert looking.best_and_worst(comparison(samples, others), known) is None
