"""The advice after a step that was not finite."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.training import nonfinite
from tests import tiny

FROM_THIS = '--config.init_from=runs/a'


@flax.struct.dataclass
class State:
  failed_step: jax.Array
  params: jax.Array
  moments: jax.Array


def advice(failed, saved=(), *, weight=1.0, moment=1.0, init_from=None):
  """The error of a run whose state contains these two numbers."""
  state = State(
      failed_step=jnp.int32(failed),
      params=jnp.array([0.5, weight]),
      moments=jnp.array([moment]),
  )
  error = nonfinite.failure(
      state,
      workdir='runs/a',
      saved=saved,
      init_from=init_from,
      mesh=tiny.one_device(),
  )
  sentence = f'at step {failed + 1} was not finite. The step was not applied'
  assert sentence in str(error)
  return str(error)


def test_the_first_step_of_all_does_not_depend_on_the_learning_rate():
  text = advice(0)
  assert 'the learning rate is not the cause' in text
  assert 'Check the data, --config.loss and --config.model.dtype' in text
  assert 'again in another --workdir, or after removing this one' in text
  assert 'init_from' not in text


def test_given_weights_that_fail_at_once_are_not_recommended_again():
  text = advice(0, init_from='runs/b')
  assert 'with the weights of --config.init_from=runs/b' in text
  assert 'Choose other weights or leave the flag out' in text
  assert text.endswith('in another --workdir, or after removing this one.')


def test_without_a_checkpoint_a_run_starts_anew():
  text = advice(3)
  assert 'There is no checkpoint yet.' in text
  for name in ('peak_lr', 'clip_norm', 'warmup_steps'):
    assert f'--config.optimizer.{name}' in text
  assert 'again in another --workdir, or after removing this one' in text
  assert 'init_from' not in text


def test_a_checkpoint_that_a_finite_step_followed_may_be_started_from():
  text = advice(5, [2, 4])
  assert 'newest checkpoint is of step 4, and a finite step followed' in text
  assert '--config.optimizer.peak_lr' in text
  assert text.endswith(f'in another --workdir with {FROM_THIS}.')


@pytest.mark.parametrize(
    'case',
    [
        dict(failed=4),  # The step used the weights of the checkpoint.
        dict(failed=5, weight=np.nan),
        dict(failed=5, moment=np.inf),
    ],
)
def test_a_checkpoint_that_may_be_ruined_is_not_recommended(case):
  text = advice(saved=[2, 4], **case)
  assert 'is of step 4. Its weights may cause the failure again' in text
  assert 'do not start from them' in text
  assert 'start again in another --workdir, or after removing this one' in text
  assert 'start from step 2: move runs/a/checkpoints/4 elsewhere' in text
  assert text.endswith(f'and set {FROM_THIS} in another --workdir.')
  # If it is the only checkpoint, there is nothing to start from.
  assert 'init_from' not in advice(saved=[4], **case)
