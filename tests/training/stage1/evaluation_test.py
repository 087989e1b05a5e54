"""Evaluation of stage 1 against NumPy over the whole split at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.training import stage1
from rq_jax.training.stage1 import evaluation
from tests import programs
from tests import tiny

pytestmark = pytest.mark.slow

COUNT = 21  # Two batches and five more.
CASES = {
    'shared': {},
    'by depth': dict(
        model=dict(shared_codebook=False, codebook_size=(6, tiny.WORDS)),
        loss=dict(perceptual_weight=1.0, perceptual_path='unused'),
        optimizer=dict(ema_decay=0.9),
        train=dict(accumulate=2),
    ),
}


@functools.cache
def results(case):
  """Metrics and previews from batches, and the arrays to check them with."""
  task = tiny.stage1_task(
      tiny.stage1_config(**CASES[case]), perceptual=tiny.perceptual_stand_in()
  )
  images = tiny.images(COUNT)
  state = tiny.initial_state(stage1, task)
  if state.ema_params is not None:
    # The averages must be used, not these.
    state = state.replace(params=jax.tree.map(jnp.zeros_like, state.params))
  program = jax.jit(
      lambda task, batch: (
          evaluation.eval_step(task, state, batch),
          evaluation.preview(task, state, batch),
      )
  )
  sums, previews = None, []
  for start in range(0, COUNT, 8):
    index = np.arange(start, start + 8)
    batch = {
        'image': images[np.minimum(index, COUNT - 1)],
        'valid': jnp.asarray(index < COUNT),
    }
    new, preview = program(task, batch)
    sums = new if sums is None else jax.tree.map(jnp.add, sums, new)
    previews.append(preview['reconstructions'])
  sums = jax.tree.map(lambda x: np.asarray(x, np.float64), sums)

  @jax.jit
  def whole(task, images):
    variables = stage1.inference_variables(state)
    features = task.model.apply(variables, images, method='features')
    quantized = task.model.apply(variables, features, method='quantize')
    decode = functools.partial(
        task.model.apply, variables, quantized.codes, method='decode_codes'
    )
    recons = [decode(depth=1), decode(depth=2)]
    distances = None
    if task.perceptual:
      distances = task.perceptual.apply(
          task.perceptual_variables, images, jnp.clip(recons[1], -1, 1)
      )
    return features, quantized, recons, distances

  return evaluation.summarize(task, sums), previews, whole(task, images)


@pytest.mark.parametrize('case', CASES)
def test_errors_are_exact_although_the_last_batch_is_padded_and_in_pieces(case):
  metrics, _, (features, quantized, recons, _) = results(case)
  images = np.asarray(tiny.images(COUNT), np.float64)
  for depth, recon in enumerate(recons, 1):
    mse = np.mean((np.clip(recon, -1, 1) - images) ** 2)
    np.testing.assert_allclose(
        metrics[f'psnr_depth{depth}'], 10 * np.log10(4 / mse), rtol=1e-5
    )
  np.testing.assert_allclose(metrics['mse'], mse, rtol=1e-5)
  features = np.asarray(features, np.float64)
  residual = np.mean((features - quantized.features) ** 2)
  spread = np.mean((features - np.mean(features, axis=(0, 1, 2))) ** 2)
  # A difference of sums of squares, in float32.
  np.testing.assert_allclose(
      metrics['quantization_error'], residual / spread, rtol=1e-4
  )


@pytest.mark.parametrize('case', CASES)
def test_the_use_of_the_codebook_leaves_out_the_padding(case):
  metrics, _, (_, quantized, *_) = results(case)
  codes = np.asarray(quantized.codes)
  groups = [codes] if case == 'shared' else [codes[..., 0], codes[..., 1]]
  perplexities, used = [], []
  for group in groups:
    shares = np.bincount(group.ravel(), minlength=tiny.WORDS) / group.size
    positive = shares[shares > 0]
    perplexities.append(np.exp(-np.sum(positive * np.log(positive))))
    used.append(np.mean(shares > 0))
  np.testing.assert_allclose(
      metrics['codebook_perplexity'], np.mean(perplexities), rtol=1e-5
  )
  np.testing.assert_allclose(metrics['codebook_used'], np.mean(used))


def test_the_perceptual_distance_is_reported_where_there_is_a_network():
  metrics, _, (*_, distances) = results('by depth')
  np.testing.assert_allclose(
      metrics['perceptual'], np.mean(distances), rtol=1e-5
  )
  assert 'perceptual' not in results('shared')[0]


@pytest.mark.parametrize('pieces', [1, 2])
def test_activations_are_those_of_a_piece(pieces):
  config = tiny.stage1_config(train=dict(accumulate=pieces))
  task = tiny.stage1_task(config)
  state = tiny.initial_state(stage1, task)
  batch = {'image': tiny.images(8), 'valid': jnp.ones(8, bool)}
  step = functools.partial(evaluation.eval_step, task, state)
  values = programs.values_in(jax.make_jaxpr(step)(batch).jaxpr)
  largest = (tiny.SIZE, tiny.SIZE, config.model.channels)
  rows = {v.shape[0] for v in values if v.shape[1:] == largest}
  assert rows == {8 // pieces}


def test_previews_show_images_over_their_reconstructions_by_depth():
  _, previews, (_, _, recons, _) = results('shared')
  rows = [tiny.images(COUNT)[:8], recons[0][:8], recons[1][:8]]
  pixels = np.clip((np.stack(rows) + 1) * 127.5, 0, 255)
  assert previews[0].shape == (3, 8, tiny.SIZE, tiny.SIZE, 3)
  assert previews[0].dtype == np.uint8
  # Rounded; a value between two numbers may be rounded either way.
  np.testing.assert_allclose(previews[0], pixels, atol=0.501)


@pytest.mark.parametrize('function', [evaluation.eval_step, evaluation.preview])
def test_all_depths_share_one_decoder(function):
  task = tiny.stage1_task(tiny.stage1_config())
  state = tiny.initial_state(stage1, task)
  batch = {'image': tiny.images(8), 'valid': jnp.ones(8, bool)}

  def reconstruct(task, state, batch):
    variables = stage1.inference_variables(state)
    return task.model.apply(variables, batch['image'])

  def convolutions(function):
    step = functools.partial(function, task, state)
    found = programs.equations_in(jax.make_jaxpr(step)(batch).jaxpr)
    return sum('conv_general' in str(each.primitive) for each in found)

  assert convolutions(function) == convolutions(reconstruct) > 0
