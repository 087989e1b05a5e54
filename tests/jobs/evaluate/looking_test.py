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


def test_the_first_and_last_five_classes_are_listed():
  labels = np.repeat(np.arange(7, dtype=np.int32), 30)
  logits = np.zeros((210, 7), np.float32)
  logits[np.arange(210), labels] = 1
  for c in range(7):  # The larger the class, the fewer are recognised.
    logits[30 * c : 31 * c, (c + 1) % 7] = 2
  known = measuring.Known(labels=labels, class_scores=lambda rows: rows)
  samples = part('classifier/logits', logits, labels)
  found = looking.best_and_worst(comparison(samples), known)
  assert [entry['class'] for entry in found['best']] == [0, 1, 2, 3, 4]
  assert [entry['class'] for entry in found['worst']] == [6, 5, 4, 3, 2]


def test_the_eight_nearest_of_the_first_4096_samples_are_found():
  rows = np.arange(1, 4099, dtype=np.float32)[:, None]
  rows[4095], rows[4096] = -0.5, 0
  samples = part('inception/pool', rows)
  samples.first = lambda _, count: rows[:count]
  reference = part('inception/pool', np.zeros((1, 1), np.float32))
  found = looking.copies(comparison(samples, reference))
  assert found['searched'] == 4096
  nearest = [(p['sample'], p['distance']) for p in found['pairs']]
  assert nearest == [(4095, 0.5), *((i, i + 1) for i in range(7))]
