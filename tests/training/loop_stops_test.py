"""The loop stops cleanly at a signal, and at a step that is not finite."""

import os
import signal

import numpy as np
import pytest

from rq_jax.distributed import interrupts
from tests import tiny
from tests.training import toy


@pytest.mark.parametrize('step', [2, 3])
def test_a_signal_ends_a_run_in_good_order_and_it_goes_on(step, tmp_path):
  """Step 2 would have been saved anyway, step 3 would not."""
  folder, results = toy.finished()

  def kill():
    os.kill(os.getpid(), signal.SIGTERM)

  with pytest.raises(interrupts.Interrupted, match=rf'saved at step {step}\.'):
    toy.run(
        tmp_path,
        toy.Task(on_summary=kill),
        config=toy.experiment(eval_steps=step),
    )
  assert step in toy.saved(tmp_path)
  assert [x['step'] for x in toy.train_lines(tmp_path)] == list(
      range(1, step + 1)
  )
  assert toy.run(tmp_path, config=toy.experiment()) == results
  assert toy.train_lines(tmp_path) == toy.train_lines(folder)
  for name in ('params', 'ema_params'):
    np.testing.assert_array_equal(
        toy.weights_at(tmp_path, 5, name), toy.weights_at(folder, 5, name)
    )


def test_a_signal_in_the_last_step_changes_nothing(tmp_path):
  def kill():
    os.kill(os.getpid(), signal.SIGTERM)

  task = toy.Task(on_summary=kill)
  assert (
      toy.run(tmp_path, task, config=toy.experiment(eval_steps=1000))
      == toy.finished()[1]
  )
  assert toy.STEPS in toy.saved(tmp_path)


@pytest.mark.parametrize('log_steps', [1, 1000])
def test_a_step_that_is_not_finite_ends_the_run_and_is_saved_nowhere(
    log_steps, tmp_path
):
  config = toy.experiment(log_steps=log_steps)
  with pytest.raises(FloatingPointError, match='at step 3 .* is of step 2'):
    toy.run(tmp_path, toy.Task(breaks_at=2), config=config)
  assert toy.saved(tmp_path) == [2]
  assert np.all(np.isfinite(toy.weights_at(tmp_path, 2)))
  # Once the step no longer fails, the run resumes from the step before.
  toy.run(tmp_path, config=config)
  np.testing.assert_array_equal(
      toy.weights_at(tmp_path, 5), toy.weights_at(toy.finished()[0], 5)
  )


def test_weights_from_before_a_step_that_failed_may_be_started_from(tmp_path):
  """The error suggests it, and names the folder."""
  first = tmp_path / 'first'
  with pytest.raises(FloatingPointError, match=f'init_from={first}') as error:
    toy.run(first, toy.Task(breaks_at=3), config=toy.experiment(log_steps=1))
  assert 'of step 2, and a finite step followed it' in str(error.value)
  config = tiny.changed(toy.experiment(), init_from=str(first))
  toy.run(tmp_path / 'second', config=config)
  assert toy.saved(tmp_path / 'second') == [4, 5]


def test_a_run_that_fails_in_its_last_step_says_so(tmp_path):
  with pytest.raises(FloatingPointError, match='at step 5 .* is of step 4'):
    toy.run(
        tmp_path,
        toy.Task(breaks_at=4),
        config=toy.experiment(log_steps=1000, checkpoint_steps=1),
    )
  assert toy.saved(tmp_path) == [3, 4]
