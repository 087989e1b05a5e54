"""The advice after a step that was not finite."""

import json

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


def advice(
    failed,
    saved=(),
    *,
    weight=1.0,
    moment=1.0,
    init_from=None,
    examples=(4, 7),
    workdir='runs/a',
    **options,
):
  """The error of a run whose state contains these two numbers."""
  state = State(
      failed_step=jnp.int32(failed),
      params=jnp.array([0.5, weight]),
      moments=jnp.array([moment]),
  )
  error = nonfinite.failure(
      state,
      workdir=workdir,
      saved=saved,
      init_from=init_from,
      mesh=tiny.one_device(),
      examples=examples,
      **options,
  )
  sentence = f'at step {failed + 1} was not finite. The step was not applied'
  assert sentence in str(error) or 'skipped' in options
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


def test_the_examples_of_the_batch_are_named():
  text = advice(3)
  assert ' Its examples have the indices 4, 7 in the training split.' in text


def test_examples_of_a_large_batch_are_in_a_file(tmp_path):
  examples = list(range(30, 50))
  text = advice(3, examples=examples, workdir=tmp_path)
  assert 'the indices 30, 31, 32, 33, 34, 35, 36, 37 and 12 more' in text
  file = tmp_path / 'failed_batch.json'
  assert f'see {file}.' in text
  assert json.loads(file.read_text()) == {'step': 4, 'examples': examples}


def test_after_skipped_steps_the_advice_counts_from_the_first_of_them():
  """Steps 5, 6 and 7 failed; step 7 ended the run."""
  text = advice(6, [2, 5], skipped=2)
  assert 'was not finite in 3 steps in a row, up to step 7. None of' in text
  assert 'raise --config.train.max_skipped' in text
  # Step 5 was saved after it had been skipped, so its weights are in doubt.
  assert 'is of step 5. Its weights may cause the failure again' in text
  assert 'and a finite step followed it' in advice(6, [2], skipped=2)
  assert 'No parameter had moved yet' in advice(2, [1], skipped=2)
