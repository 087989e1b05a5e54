"""A few steps that are not finite are skipped; too many in a row end a run."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rq_jax.data import loader
from rq_jax.distributed import interrupts
from rq_jax.training import skipped_steps
from tests import tiny
from tests.training import toy


def expected(broken, steps=toy.STEPS):
  """The weights after the last step, and their average, without the loop."""
  state = toy.init_state(toy.Task(), jax.random.key(0))
  config = toy.experiment()
  batches = loader.train_batches(
      toy.digits_splits().train,
      transform=loader.image_transform(config.data, train=True),
      batch_size=64,
      seed=config.seed,
  )
  for step in range(steps):
    batch = next(batches)
    if step in broken:
      state = state.replace(step=state.step + 1)
    else:
      state, _ = toy.train_step(toy.Task(), state, batch)
  batches.close()
  return state


@pytest.mark.parametrize('broken', [(0,), (1, 2), (1, 3), (4,)])
def test_a_skipped_step_uses_up_its_batch_and_its_random_numbers(
    broken, tmp_path
):
  config = toy.experiment(max_skipped=2, log_steps=1)
  toy.run(tmp_path, toy.Task(breaks_at=broken), config=config)
  assert toy.saved(tmp_path) == [4, 5]
  state = expected(broken)
  for name in ('params', 'ema_params'):
    # Means in float32, over a batch that is split over devices.
    np.testing.assert_allclose(
        toy.weights_at(tmp_path, 5, name),
        getattr(state, name)['w'],
        rtol=1e-5,
    )
  lines = toy.train_lines(tmp_path)
  assert [x['train/skipped_steps'] for x in lines] == [
      sum(b < step for b in broken) for step in range(1, 6)
  ]
  losses = [x['train/loss'] is None for x in lines]
  assert losses == [step in broken for step in range(5)]


def test_finite_steps_are_the_same_bits_with_and_without_the_limit(tmp_path):
  folder, results = toy.finished()
  config = toy.experiment(max_skipped=3, eval_steps=3)
  assert toy.run(tmp_path, config=config) == results
  tiny.assert_trees_equal(
      tiny.saved_state(tmp_path, 5), tiny.saved_state(folder, 5)
  )


def test_one_more_than_the_limit_ends_the_run_with_the_last_batch(tmp_path):
  config = toy.experiment(max_skipped=2, log_steps=1000)
  with pytest.raises(FloatingPointError) as error:
    toy.run(tmp_path, toy.Task(breaks_at=(1, 2, 3)), config=config)
  text = str(error.value)
  assert 'in 3 steps in a row, up to step 4.' in text
  # The digits of the fourth batch, whose pixels the loader delivers.
  indices = loader.train_indices(
      len(toy.digits_splits().train), batch_size=64, seed=0, step=3
  )
  assert f'the indices {", ".join(map(str, indices[:8]))} and 56 more' in text
  assert toy.saved(tmp_path) == [2]


def test_skipped_steps_are_told_once(tmp_path, capsys):
  config = toy.experiment(max_skipped=1, log_steps=1)
  toy.run(tmp_path, toy.Task(breaks_at=(0, 2)), config=config)
  printed = capsys.readouterr().out
  assert printed.count('were not finite and were not applied') == 1
  assert '--config.train.max_skipped=1 in a row' in printed


@pytest.mark.parametrize('stopped_at', [2, 3])
def test_a_run_that_stops_between_skipped_steps_resumes_bit_identical(
    stopped_at, tmp_path
):
  """Steps 2, 3 and 5 are skipped."""

  def kill():
    os.kill(os.getpid(), signal.SIGTERM)

  broken, config = (1, 2, 4), toy.experiment(max_skipped=2)
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  toy.run(whole, toy.Task(breaks_at=broken), config=config)
  with pytest.raises(interrupts.Interrupted):
    toy.run(
        parts,
        toy.Task(breaks_at=broken, on_summary=kill),
        config=tiny.changed(config, train=dict(eval_steps=stopped_at)),
    )
  toy.run(parts, toy.Task(breaks_at=broken), config=config)
  tiny.assert_trees_equal(
      tiny.saved_state(parts, 5), tiny.saved_state(whole, 5)
  )
  assert toy.train_lines(parts) == toy.train_lines(whole)


def test_a_row_of_failures_goes_on_after_a_restart(tmp_path):
  """Steps 2 to 4 fail; the run stopped after the first of them."""

  def kill():
    os.kill(os.getpid(), signal.SIGTERM)

  task, config = toy.Task(breaks_at=(1, 2, 3)), toy.experiment(max_skipped=2)
  with pytest.raises(interrupts.Interrupted):
    toy.run(
        tmp_path,
        task.replace(on_summary=kill),
        config=tiny.changed(config, train=dict(eval_steps=2)),
    )
  with pytest.raises(FloatingPointError, match='in 3 steps in a row, up to st'):
    toy.run(tmp_path, task, config=config)


def test_the_learning_rate_moves_on_but_moments_do_not():
  """A schedule by step, beside Adam's own count of updates."""
  optimizer = optax.adam(lambda step: 0.5 + step)
  params = {'w': jnp.ones(2)}
  state = toy.State(
      step=jnp.int32(7),
      failed_step=jnp.int32(-1),
      rng=jax.random.key(0),
      params=params,
      ema_params=optimizer.init(params),
  )

  def fails(task, state, batch):
    return state.replace(failed_step=state.step), {}

  step = skipped_steps.guarded(fails, 1)
  after, metrics, (row, total) = step(
      None, state, None, (jnp.int32(0), jnp.int32(4))
  )
  assert (after.step, after.failed_step, row, total) == (8, -1, 1, 5)
  assert metrics == {'train/skipped_steps': 5}
  adam, moved = after.ema_params
  assert (adam.count, moved.count) == (0, 1)
  # The next failure is one too many: nothing moves.
  last, _, (row, total) = step(None, after, None, (row, total))
  assert (last.step, last.failed_step, row, total) == (8, 8, 1, 5)
  assert last.ema_params[1].count == 1
