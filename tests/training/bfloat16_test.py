"""In bfloat16, both stages learn as they do in float32.

Parameters, losses and statistics stay float32; what layers compute is rounded
to eight bits.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.training import stage1
from rq_jax.training import stage2
from tests import tiny

STEPS = 40


def experiment(stage, dtype):
  if stage is stage1:
    return tiny.stage1_config(
        model=dict(dtype=dtype, decay=0.9),
        loss=dict(adversarial_weight=0.1, adversarial_start=20),
        discriminator=dict(dtype=dtype),
        optimizer=dict(peak_lr=5e-3, betas=(0.9, 0.99)),
    )
  return tiny.stage2_config(
      model=dict(dtype=dtype, dropout=0.0),
      loss=dict(stochastic_codes=False, soft_targets=False),
      optimizer=dict(peak_lr=1e-2),
  )


def trained(stage, dtype):
  """Losses of all steps on one batch, and the last state."""
  make = tiny.stage1_task if stage is stage1 else tiny.stage2_task
  task = make(experiment(stage, dtype))
  batch = {'image': tiny.images(), 'label': jnp.arange(tiny.BATCH)}
  state = tiny.initial_state(stage, task)
  step = jax.jit(stage.train_step, donate_argnums=1)
  name = 'reconstruction' if stage is stage1 else 'loss'
  losses = []
  for _ in range(STEPS):
    state, metrics = step(task, state, batch)
    losses.append(metrics[name])
  return np.asarray(losses), state


# A number is rounded by 2**-9 at most, a dozen times on its way through a tiny
# model, so losses of one state differ by less than 1 %. From there on two runs
# part: in stage 1, a vector between two codewords may go to the other one,
# which moves the loss of a step by up to 9 %, to either side. Means over eight
# steps, from one to the next of which the loss falls by more than the band,
# stay within it.
WINDOW = 8
BANDS = {stage1: 0.1, stage2: 0.05}


@pytest.mark.slow
@pytest.mark.parametrize('stage', BANDS, ids=['stage1', 'stage2'])
def test_the_loss_falls_as_it_does_in_float32(stage):
  exact, _ = trained(stage, 'float32')
  rounded, state = trained(stage, 'bfloat16')
  assert rounded[0] != exact[0]
  np.testing.assert_allclose(rounded[0], exact[0], rtol=0.01)
  exact, rounded = (x.reshape(-1, WINDOW).mean(1) for x in (exact, rounded))
  np.testing.assert_allclose(rounded, exact, rtol=BANDS[stage])
  assert (exact[1:] < (1 - BANDS[stage]) * exact[:-1]).all()
  assert rounded[-1] < rounded[0] / 4
  for leaf in jax.tree.leaves((state.params, state.opt_state)):
    assert leaf.dtype in (np.float32, np.int32)
