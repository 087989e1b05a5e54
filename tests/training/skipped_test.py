"""Broken examples are counted over epochs and restarts, up to a limit."""

import numpy as np
import pytest

from rq_jax.data import image_files
from rq_jax.data.sources import digits
from rq_jax.distributed import partitioning
from rq_jax.training import skipped
from rq_jax.training import stages
from tests import tiny
from tests.training import toy


class Damaged(digits.Digits):
  """The digits; some of them cannot be read."""

  def __init__(self, split, broken):
    super().__init__(split, tiny.SIZE)
    self.broken = frozenset(broken)

  def __getitem__(self, index):
    if index in self.broken:
      raise image_files.BrokenImageError(f'digit {index} is damaged.')
    return super().__getitem__(index)


def counter(limit=5, length=12, size=8, meta=()):
  return skipped.Skipped(
      limit=limit,
      num_examples=length,
      batch_size=size,
      mesh=partitioning.make_mesh({'data': -1}),
      meta=dict(meta),
  )


@pytest.mark.parametrize(
    ('length', 'size'), [(12, 8), (16, 8), (5, 16), (64, 8)]
)
def test_counts_are_those_of_the_worst_epoch_so_far(length, size):
  broken = np.random.default_rng(0).random(size * 12) < 0.3
  count = counter(length=length, size=size)
  for step in range(1, 13):
    rows = broken[(step - 1) * size : step * size]
    batch, metrics = count.counted(step, {'replaced': rows, 'x': rows})
    assert list(batch) == ['x']
    seen = broken[: step * size]
    by_epoch = np.add.reduceat(seen, np.arange(0, len(seen), length))
    assert metrics[skipped.METRIC] == max(by_epoch)
    # The count continues from any checkpoint.
    count = counter(length=length, size=size, meta=count.meta())


def test_the_limit_itself_is_allowed():
  count = counter(limit=2)
  rows = np.array([True, False] * 4)
  count.counted(1, {'replaced': rows & (np.arange(8) < 3)})
  count.check()
  count.counted(2, {'replaced': rows & (np.arange(8) < 2)})  # 3 in the epoch.
  with pytest.raises(ValueError, match=r'^3 examples of .*max_errors=2\. '):
    count.check()


def test_nothing_is_counted_without_a_limit():
  count = counter(limit=None)
  batch = {'x': 1}
  assert count.counted(1, batch) == (batch, {})
  assert count.summed(batch) == (batch, {})
  assert count.meta() == {}
  count.check()


def damaged_run(
    workdir, *, steps=toy.STEPS, broken=range(0, 1438, 100), **data
):
  config = tiny.changed(toy.experiment(), data=dict(on_error='skip') | data)
  splits = stages.Splits(
      train=Damaged('train', broken), test=Damaged('test', {3})
  )
  return toy.run(workdir, config=config, steps=steps, splits=splits)


def test_a_run_counts_what_it_skips_and_continues_the_count(tmp_path):
  """23 steps of 64 examples are one epoch, and a little of the next."""
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  results = damaged_run(whole, steps=23)
  assert (results['eval/skipped'], results['eval/count']) == (1, 358)
  counts = [line[skipped.METRIC] for line in toy.train_lines(whole)]
  assert counts == sorted(counts)
  assert counts[-1] == 15  # All of them, each once.
  for steps in (7, 16, 23):
    damaged_run(parts, steps=steps)
  again = [line[skipped.METRIC] for line in toy.train_lines(parts)]
  assert again == counts
  np.testing.assert_array_equal(
      toy.weights_at(parts, 23), toy.weights_at(whole, 23)
  )


def test_a_run_stops_with_more_broken_examples_than_allowed(tmp_path):
  with pytest.raises(ValueError, match=r'^15 examples .*max_errors=14\.'):
    damaged_run(tmp_path, steps=23, max_errors=14)
  # No checkpoint has the count above the limit. Once an example is repaired,
  # the same command goes on.
  assert max(toy.saved(tmp_path)) < 23
  damaged_run(tmp_path, steps=23, max_errors=14, broken=())
  assert max(toy.saved(tmp_path)) == 23
