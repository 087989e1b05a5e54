"""Evaluation of stage 1: reconstructions by depth, and codebook usage."""

from collections.abc import Mapping
import math

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax import tokenizer
from rq_jax.config import RQVAEExperiment
from rq_jax.evaluation import reconstruction
from rq_jax.training import accumulation
from rq_jax.training import advice
from rq_jax.training import stage1
from rq_jax.training.stage1 import State
from rq_jax.training.stage1 import Task
from rq_jax.typing import Batch, Metrics, Variables


def eval_step(task: Task, state: State, batch: Batch) -> Metrics:
  """Sums over the valid examples of a batch; see `summarize`.

  The batch is computed in the same pieces as in training.

  Args:
    task: Everything that stays fixed over the run.
    state: The state to evaluate.
    batch: 'image', float32[B, Y, X, 3]; and 'valid', bool[B].
  """
  variables = stage1.inference_variables(state)
  return accumulation.sums(
      lambda piece: _sums(task, variables, piece),
      batch,
      task.accumulate,
  )


def _sums(task: Task, variables: Variables, batch: Batch) -> Metrics:
  """What `eval_step` returns, for one piece of its batch."""
  images, valid = batch['image'], batch['valid'].astype(jnp.float32)
  features = task.model.apply(variables, images, method='features')
  quantized = task.model.apply(variables, features, method='quantize')

  def compare(_, depth):
    recons = task.model.apply(
        variables, quantized.codes, depth=depth, method='decode_codes'
    )
    recons = jnp.clip(recons, -1, 1)
    errors = jnp.mean(jnp.square(recons - images), axis=(1, 2, 3))
    return recons, jnp.sum(valid * errors)

  # After the loop, `recons` are those of all codes.
  recons, mse = jax.lax.scan(compare, images, _depths(task))
  sums = {}
  if task.perceptual is not None:
    assert task.perceptual_variables is not None
    distances = task.perceptual.apply(task.perceptual_variables, images, recons)
    sums['perceptual'] = jnp.sum(valid * distances)
  mask = valid[:, None, None, None]
  codes = jnp.where(mask > 0, quantized.codes, -1)  # -1 is not counted.
  return sums | {
      'count': jnp.sum(valid),
      'mse': mse,
      'residual': jnp.sum(mask * jnp.square(features - quantized.features)),
      'features': jnp.sum(mask * features, axis=(0, 1, 2)),
      'features_squared': jnp.sum(mask * jnp.square(features)),
      'hits': stage1.code_shares(task.model, codes) * codes.size,
  }


def summarize(task: Task, sums: dict[str, np.ndarray]) -> dict[str, float]:
  """Metrics of a split, from the sums of `eval_step` over its batches."""
  mse = sums['mse'] / sums['count']
  height, width, _ = task.model.features_shape
  vectors = sums['count'] * height * width
  spread = sums['features_squared'] - np.sum(sums['features'] ** 2) / vectors
  shares = sums['hits'] / np.sum(sums['hits'], axis=-1, keepdims=True)
  perplexity = np.exp(-np.sum(shares * np.log(np.maximum(shares, 1e-30)), -1))
  metrics = {
      'mse': mse[-1],
      **{
          f'psnr_depth{d}': reconstruction.psnr(x) for d, x in enumerate(mse, 1)
      },
      'quantization_error': sums['residual'] / spread,
      'codebook_perplexity': np.mean(perplexity),
      'codebook_used': np.mean(shares > 0),
  }
  if task.perceptual is not None:
    metrics['perceptual'] = sums['perceptual'] / sums['count']
  return metrics


def advise(
    config: RQVAEExperiment,
    training: Mapping[str, float],
    results: Mapping[str, float],
    count: int,
) -> dict[str, str | None]:
  """Warnings after an evaluation, by kind; None is no warning.

  Args:
    config: The experiment.
    training: Newest metrics of training, by the names in `metrics.jsonl`.
    results: Metrics of the evaluation, by the names in `metrics.jsonl`.
    count: Number of examples that were evaluated.
  """
  sizes, before = config.model.codebook_size, 'train/reconstruction'
  found = {
      'codebook': advice.codebook_use(
          results['eval/codebook_used'],
          count * math.prod(config.model.code_shape),
          sizes if isinstance(sizes, int) else max(sizes),
      )
  }
  # The absolute error of training cannot be compared with the squared one.
  if before in training and config.loss.reconstruction == 'mse':
    found['held out'] = advice.held_out(training[before], results['eval/mse'])
  return found


def preview(task: Task, state: State, batch: Batch) -> dict[str, jax.Array]:
  """Images above their reconstructions by depth: uint8[D + 1, 8, Y, X, 3]."""
  images = batch['image'][:8]
  variables = stage1.inference_variables(state)
  features = task.model.apply(variables, images, method='features')
  codes = task.model.apply(variables, features, method='quantize').codes

  def decode(depth):
    return task.model.apply(
        variables, codes, depth=depth, method='decode_codes'
    )

  rows = jnp.concatenate([images[None], jax.lax.map(decode, _depths(task))])
  return {'reconstructions': tokenizer.to_uint8(rows)}


def _depths(task: Task) -> jax.Array:
  """All depths, 1 to D; a loop over them compiles one decoder."""
  return jnp.arange(1, task.model.code_shape[2] + 1, dtype=jnp.int32)
