"""Both stages can learn a few examples by heart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import rqvae
from rq_jax.sampling import Sampling
from rq_jax.sampling import requests
from rq_jax.training import stage1
from rq_jax.training import stage2
from tests import tiny
from tests.sampling import models

pytestmark = pytest.mark.slow


def test_an_rqvae_learns_to_reconstruct_eight_digits():
  experiment = tiny.stage1_config(
      model=dict(decay=0.9),
      optimizer=dict(peak_lr=5e-3, betas=(0.9, 0.99)),
  )
  task = tiny.stage1_task(experiment)
  batch = {'image': tiny.images()}
  state = tiny.initial_state(stage1, task)
  step = jax.jit(stage1.train_step, donate_argnums=1)
  for _ in range(250):
    state, metrics = step(task, state, batch)
  # The variance of the images is over 15 times the allowed error.
  assert np.mean(np.var(tiny.images(), axis=0)) > 0.17
  assert metrics['reconstruction'] < 0.01
  # The images can be decoded from only the codes, as stage 2 requires.
  variables = stage1.inference_variables(state)
  recons = jax.jit(_through_codes, static_argnums=0)(
      task.model, variables, tiny.images()
  )
  assert np.mean((recons - tiny.images()) ** 2) < 0.01


def _through_codes(model: rqvae.RQVAE, variables, images):
  features = model.apply(variables, images, method='features')
  codes = model.apply(variables, features, method='quantize').codes
  return model.apply(variables, codes, method='decode_codes')


def test_a_prior_learns_four_code_maps_by_label_and_draws_them_again():
  experiment = tiny.stage2_config(
      data=dict(batch_size=4),
      model=dict(dropout=0.0),
      loss=dict(stochastic_codes=False, soft_targets=False),
      optimizer=dict(peak_lr=1e-2),
  )
  task = tiny.stage2_task(experiment)
  shape = (4, *task.tokenizer.features_shape)
  # As large as the codewords, so that many codewords are used.
  features = jax.random.normal(jax.random.key(5), shape)
  batch = {'features': features, 'label': jnp.array([7, 0, 3, 9])}
  codes, _ = stage2.draw_codes(task, batch, jax.random.key(0))
  codes = np.asarray(codes).reshape(4, *tiny.CODE_SHAPE)
  assert len(np.unique(codes)) > tiny.WORDS / 2
  state = tiny.initial_state(stage2, task)
  step = jax.jit(stage2.train_step, donate_argnums=1)
  for _ in range(150):
    state, metrics = step(task, state, batch)
  # Guessing costs log(12) = 2.5.
  assert metrics['loss'] < 0.02
  order = np.array([2, 0, 1, 3])
  drawn, _ = models.draw(
      task.model,
      Sampling(top_k=1),
      state.params,
      task.codebooks,
      requests.uniforms(jax.random.key(1), np.arange(4), 4, 2),
      batch['label'][order][:, None],
  )
  np.testing.assert_array_equal(drawn, codes[order])
