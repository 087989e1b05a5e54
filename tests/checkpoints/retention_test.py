"""Which checkpoints stay, and why."""

import math

import jax.numpy as jnp
import pytest

from rq_jax.checkpoints import retention
from rq_jax.checkpoints import runs


def evaluations(values, **options):
  lines = [{'step': step, 'eval/x': x} for step, x in values.items()]
  return retention.Evaluations('eval/x', lines=lines, **options)


def test_the_newest_evaluation_at_or_before_a_checkpoint_counts():
  found = evaluations({10: 1.0, 30: 3.0, 20: 2.0})
  values = [found.of(step) for step in (9, 10, 19, 20, 31)]
  assert values == [None, 1.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(('higher', 'best'), [(False, 20), (True, 30)])
def test_the_best_is_the_lowest_or_the_highest(higher, best):
  found = evaluations({10: 2.0, 20: 1.0, 30: 3.0}, higher=higher)
  assert found.best([5, 10, 20, 30]) == best
  # The one that was evaluated, and not a later one.
  assert found.best([5, 10, 20, 25, 30, 35]) == best


def test_what_is_unknown_or_not_finite_is_never_the_best():
  found = evaluations({10: None, 20: math.nan, 30: -math.inf, 40: 5.0})
  assert found.best([10, 20, 30]) is None
  assert found.best([10, 20, 30, 40]) == 40
  found.add(50, {'eval/other': 1.0})
  assert found.best([40, 50]) == 40
  assert retention.Evaluations(None).best([1, 2]) is None


def test_each_kept_step_has_its_reasons():
  found = retention.kept(
      [10, 20, 30, 40, 50],
      newest=2,
      every=20,
      evaluations=evaluations({10: 0.1, 20: 0.2, 40: 0.05, 50: 7.0}),
  )
  assert found == {
      20: ['every 20'],
      40: ['newest', 'every 20', 'best eval/x'],
      50: ['newest'],
  }
  assert list(retention.kept([1, 2, 3], newest=1)) == [3]


def run(folder, values, **options):
  """Saves a checkpoint after each evaluation; returns the steps that stay."""
  scores = options.setdefault('evaluations', retention.Evaluations('eval/x'))
  with runs.Checkpoints(folder, keep=1, **options) as checkpoints:
    for step, value in values.items():
      scores.add(step, {'eval/x': value})
      checkpoints.save(step, {'x': jnp.ones(2)}, {})
  return sorted(int(p.name) for p in (folder / 'checkpoints').iterdir())


def test_a_run_keeps_the_best_every_nth_and_the_newest(tmp_path):
  values = {1: 5.0, 2: 1.0, 3: 4.0, 4: 3.0, 5: 2.0}
  assert run(tmp_path, values, every=3) == [2, 3, 5]
  # A later program that knows the earlier values.
  known = evaluations(values)
  assert run(tmp_path, {6: 1.5}, every=3, evaluations=known) == [2, 3, 6]
  known = evaluations(values | {6: 1.5})
  assert run(tmp_path, {7: 0.5, 8: 9.0}, every=3, evaluations=known) == [
      3,
      6,
      7,
      8,
  ]


def test_a_checkpoint_that_may_be_the_best_stays(tmp_path, capsys):
  """As after someone has removed metrics.jsonl."""
  assert run(tmp_path, {1: 5.0, 2: 1.0, 3: 4.0}) == [2, 3]
  assert run(tmp_path, {4: 3.0, 5: 6.0}) == [2, 4, 5]
  assert f'Checkpoint 2 of {tmp_path} is kept: metrics.jsonl has no eval/x' in (
      capsys.readouterr().out
  )
  # Unless the best is not to be kept.
  none = retention.Evaluations(None)
  assert run(tmp_path, {6: 0.0}, evaluations=none) == [6]
