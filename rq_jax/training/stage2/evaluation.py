"""Evaluation of stage 2: held-out loss and accuracy by depth, and samples."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax import sampling
from rq_jax import tokenizer
from rq_jax.config import RQTransformerExperiment
from rq_jax.sampling import decode
from rq_jax.sampling import requests
from rq_jax.sampling import weights
from rq_jax.training import accumulation
from rq_jax.training import advice
from rq_jax.training import stage2
from rq_jax.training.stage2 import State
from rq_jax.training.stage2 import Task
from rq_jax.training.stage2 import codes as codes_lib
from rq_jax.typing import Batch, Metrics


def eval_step(task: Task, state: State, batch: Batch) -> Metrics:
  """Sums over the valid examples of a batch; see `summarize`.

  Codes are drawn as in training, but every evaluation uses the same random
  numbers. The batch is computed in the same pieces as in training.

  Args:
    task: Everything that stays fixed over the run.
    state: The state to evaluate.
    batch: As in `train_step`, and 'valid', bool[B].
  """
  params = stage2.inference_variables(state)['params']
  uniforms = codes_lib.uniforms(task, len(batch['valid']), jax.random.key(0))

  def of_piece(examples):
    batch, uniforms = examples
    codes, residuals = codes_lib.of_batch(task, batch, uniforms)
    by_code, _ = stage2.losses_by_code(
        task, params, codes, residuals, stage2.condition_of(task, batch)
    )
    valid = batch['valid'].astype(jnp.float32)[:, None, None]
    return {
        'count': jnp.sum(valid),
        'loss': jnp.sum(valid * by_code['loss'], axis=(0, 1)),
        'hits': jnp.sum(valid * by_code['hit'], axis=(0, 1)),
    }

  return accumulation.sums(of_piece, (batch, uniforms), task.accumulate)


def summarize(task: Task, sums: dict[str, np.ndarray]) -> dict[str, float]:
  """Metrics of a split, from the sums of `eval_step` over its batches."""
  codes = sums['count'] * task.model.positions
  loss, accuracy = sums['loss'] / codes, sums['hits'] / codes
  return {
      'loss': float(np.mean(loss)),
      **{f'loss_depth{d}': x for d, x in enumerate(loss, 1)},
      **{f'accuracy_depth{d}': x for d, x in enumerate(accuracy, 1)},
  }


def advise(
    config: RQTransformerExperiment,
    training: Mapping[str, float],
    results: Mapping[str, float],
    count: int,
) -> dict[str, str | None]:
  """Warnings after an evaluation, by kind; see `stage1.evaluation.advise`."""
  del config, count  # Warnings of stage 1 need them.
  if 'train/loss' not in training:
    return {}
  return {
      'held out': advice.held_out(training['train/loss'], results['eval/loss'])
  }


def preview(task: Task, state: State, batch: Batch) -> dict[str, jax.Array]:
  """Images drawn for the conditions of a batch: uint8[1, 16, Y, X, 3]."""
  condition = stage2.condition_of(task, batch)[:16]
  model = task.model
  request = requests.make(model, condition, sampling.Sampling())
  codes, _ = decode.draw_maps(
      model,
      weights.prepare(
          model, stage2.inference_variables(state)['params'], task.codebooks
      ),
      request,
      requests.uniforms(
          jax.random.key(0), request.indices, model.positions, model.depth
      ),
  )
  images = task.tokenizer.apply(
      task.tokenizer_variables, codes, method='decode_codes'
  )
  return {'samples': tokenizer.to_uint8(images)[None]}
