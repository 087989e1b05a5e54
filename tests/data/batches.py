"""Batches of the loader, to compare: those of one process or of several."""

import itertools

import numpy as np

from rq_jax.data import loader


def first(count, source, **options):
  """The first training batches of one process."""
  batches = loader.train_batches(source, **options)
  found = list(itertools.islice(batches, count))
  batches.close()
  return found


def whole_pass(source, **options):
  """All batches of an evaluation by one process."""
  batches = loader.eval_batches(source, **options)
  found = list(batches)
  batches.close()
  return found


def joined(parts):
  """Global batches from the batches of each process."""
  return [
      {name: np.concatenate([part[name] for part in row]) for name in row[0]}
      for row in zip(*parts, strict=True)
  ]


def assert_same(found, expected):
  """Checks that batches have the same arrays, types and values."""
  assert len(found) == len(expected)
  for batch, reference in zip(found, expected):
    assert batch.keys() == reference.keys()
    for name, value in batch.items():
      assert value.dtype == reference[name].dtype
      np.testing.assert_array_equal(value, reference[name])
