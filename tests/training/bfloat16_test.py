"""In bfloat16, both stages learn as they do in float32.

Master weights, losses and statistics are float32; only activations and the
products of layers are rounded to 8 bits, which is 2**-9 of a value at most.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.training import stage1
from tests import tiny

STEPS = 40


@functools.cache
def experiment(stage, dtype):
  if stage is stage1:
    return tiny.stage1_config(
        model=dict(dtype=dtype, decay=0.9),
        loss=dict(adversarial_weight=0.1, adversarial_start=20),
        discriminator=dict(dtype=dtype),
        optimizer=dict(peak_lr=5e-3, betas=(0.9, 0.99)),
    )
  return tiny.stage2_config(
      model=dict(dtype=dtype, dropout=0.0), optimizer=dict(peak_lr=1e-2)
  )


def curve(stage, dtype):
  """Losses of all steps on one batch; and the last state."""
  make = tiny.stage1_task if stage is stage1 else tiny.stage2_task
  task = make(experiment(stage, dtype))
  batch = {'image': tiny.images(), 'label': jnp.arange(tiny.BATCH)}
  state = tiny.initial_state(stage, task)
  step = jax.jit(stage.train_step, donate_argnums=1)
  losses = []
  for _ in range(STEPS):
    state, metrics = step(task, state, batch)
    losses.append(metrics['reconstruction' if stage is stage1 else 'loss'])
  return np.array(losses), state
