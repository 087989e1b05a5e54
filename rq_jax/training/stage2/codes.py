"""The codes that a step of stage 2 trains on, drawn anew in every step.

Section 3.2.3 of the paper. In this module, a task is a `stage2.Task`.
"""

from typing import Any

import jax
import jax.numpy as jnp

from rq_jax.models import losses
from rq_jax.typing import Batch


def uniforms(task: Any, count: int, rng: jax.Array) -> jax.Array | None:
  """Numbers that draw the codes of `count` examples: float32[count, T, D].

  None stands for the nearest codes.
  """
  if not task.loss['stochastic_codes']:
    return None
  shape = (count, task.model.positions, task.model.depth)
  return jax.random.uniform(rng, shape, jnp.float32)


def of_batch(
    task: Any, batch: Batch, uniforms: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
  """Draws codes, int32[B, T, D]; also returns residuals, for soft targets.

  Args:
    task: Everything that stays fixed over the run.
    batch: 'features' or 'image', as in `stage2.train_step`.
    uniforms: From `uniforms`.
  """
  quantizer = task.tokenizer.make_quantizer()
  variables = {'codebook': task.tokenizer_variables['codebook']['quantizer']}
  if 'features' in batch:
    features = batch['features']
  else:
    features = task.tokenizer.apply(
        task.tokenizer_variables, batch['image'], method='features'
    )
  vectors = quantizer.fold(features)
  vectors = vectors.reshape(len(vectors), task.model.positions, -1)

  def draw(vectors, uniforms=None):
    return quantizer.apply(
        variables,
        vectors,
        temperature=task.loss['temperature'],
        uniforms=uniforms,
        method='soft_codes',
    )

  arrays = (vectors,) if uniforms is None else (vectors, uniforms)
  return losses.chunked_over_positions(draw, *arrays, num_chunks=task.chunks)
