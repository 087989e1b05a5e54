"""Stage 1 against gradients of the same losses through the whole model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.training import stage1
from tests import tiny
from tests.training.stage1 import steps

pytestmark = pytest.mark.slow


@pytest.mark.parametrize('step', [0, 1])
@pytest.mark.parametrize('case', steps.CASES)
def test_gradients_are_those_of_the_losses_through_the_whole_model(case, step):
  states, metrics = steps.run(case)
  grads, (parts, *_), _ = steps.naive(case, step)
  weights = steps.weights_of(case, step)
  expected = jax.tree.map(lambda g: np.tensordot(weights, g, axes=1), grads)
  recorded, _ = states[step + 1].opt_state
  tiny.assert_trees_close(recorded, expected, steps.CLOSE)
  np.testing.assert_allclose(metrics[step]['loss'], weights @ parts, rtol=1e-5)
  norm = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(expected)))
  np.testing.assert_allclose(metrics[step]['gradient_norm'], norm, rtol=1e-4)


def test_metrics_name_the_parts_of_the_loss():
  _, metrics = steps.run('batch')
  _, (parts, *_), (disc, _) = steps.naive('batch', 1)
  names = ('reconstruction', 'commitment', 'adversarial')
  for name, part in zip(names, parts):
    np.testing.assert_allclose(metrics[1][name], part, rtol=1e-5)
  np.testing.assert_allclose(metrics[1]['discriminator'], disc[0], rtol=1e-5)
  np.testing.assert_allclose(metrics[1]['learning_rate'], 1e-3, rtol=1e-6)


@pytest.mark.parametrize('case', steps.ADVERSARIAL)
def test_the_adaptive_weight_needs_no_second_pass_through_the_model(case):
  _, metrics = steps.run(case)
  assert metrics[0]['adversarial_weight'] == 0
  weight = steps.naive_weight(case)
  assert 0 < weight < 1e4
  np.testing.assert_allclose(
      metrics[1]['adversarial_weight'], weight, rtol=1e-4
  )


@pytest.mark.parametrize('case', steps.ADVERSARIAL)
def test_the_discriminator_waits_for_its_start_and_then_learns(case):
  (first, second, third), metrics = steps.run(case)
  for name in ('disc_params', 'disc_stats', 'disc_opt_state'):
    tiny.assert_trees_equal(getattr(second, name), getattr(first, name))
  _, _, ((_, stats), grads) = steps.naive(case, 1)
  recorded, _ = third.disc_opt_state
  tiny.assert_trees_close(recorded, grads, steps.CLOSE)
  tiny.assert_trees_close(
      jax.tree.map(jnp.float32, third.disc_stats),
      jax.tree.map(jnp.float32, stats),
      steps.CLOSE,
  )
  # Adam's first step moves every parameter that has a gradient by the rate.
  moved = jax.tree.map(
      lambda a, b, g: np.abs(a - b)[np.abs(g) > 1e-6],
      third.disc_params,
      second.disc_params,
      grads,
  )
  np.testing.assert_allclose(
      np.concatenate(jax.tree.leaves(moved)), 1e-3, rtol=0.02
  )
  norm = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(grads)))
  np.testing.assert_allclose(
      metrics[1]['discriminator_gradient_norm'], norm, rtol=1e-4
  )


def test_averaged_parameters_follow_the_parameters():
  states, _ = steps.run('batch')
  average = states[0].params
  for step, state in enumerate(states[1:]):
    assert tiny.all_differ(state.params, states[step].params)
    decay = min(0.9, (1 + step) / (10 + step))
    average = jax.tree.map(
        lambda a, p, d=decay: d * a + (1 - d) * p, average, state.params
    )
    tiny.assert_trees_close(state.ema_params, average, 1e-6)
  variables = stage1.inference_variables(states[-1])
  assert variables['params'] is states[-1].ema_params
  without = steps.run('plain')[0][-1]
  assert without.ema_params is None
  assert stage1.inference_variables(without)['params'] is without.params


def test_the_codebook_moves_by_averaging():
  states, metrics = steps.run('plain')
  _, (_, output, moved), _ = steps.naive('plain', 0)
  # Re-drawn codewords depend on the key of the step, so it is checked, too.
  tiny.assert_trees_close(states[1].codebook, moved, 1e-5)
  book = states[1].codebook['quantizer']['shared']
  hits = np.bincount(output.quantized.codes.ravel(), minlength=tiny.WORDS)
  count = 0.01 * hits  # The averages start at 0.
  used = count >= 0.1 * np.mean(count)
  assert 0 < np.sum(used) < tiny.WORDS
  np.testing.assert_allclose(book.count[used], count[used], rtol=1e-5)
  np.testing.assert_allclose(book.count[~used], np.mean(count), rtol=1e-5)
  shares = hits / np.sum(hits)
  entropy = -np.sum(shares[hits > 0] * np.log(shares[hits > 0]))
  np.testing.assert_allclose(metrics[0]['codebook/used'], np.mean(hits > 0))
  np.testing.assert_allclose(
      metrics[0]['codebook/perplexity'], np.exp(entropy), rtol=1e-5
  )


def test_each_depth_may_have_a_codebook_of_its_own_size():
  states, metrics = steps.run('act')
  _, (_, output, moved), _ = steps.naive('act', 0)
  tiny.assert_trees_close(states[1].codebook, moved, 1e-5)
  perplexities, used = [], []
  for depth in range(2):
    codes = np.asarray(output.quantized.codes[..., depth])
    shares = np.bincount(codes.ravel(), minlength=tiny.WORDS) / codes.size
    positive = shares[shares > 0]
    perplexities.append(np.exp(-np.sum(positive * np.log(positive))))
    used.append(np.mean(shares > 0))
  np.testing.assert_allclose(
      metrics[0]['codebook/perplexity'], np.mean(perplexities), rtol=1e-5
  )
  np.testing.assert_allclose(
      metrics[0]['codebook/used'], np.mean(used), rtol=1e-5
  )


def test_a_step_that_is_not_finite_is_not_applied_nor_any_after_it():
  states, _ = steps.run('batch')
  broken = tiny.images().at[3, 5, 5, 0].set(jnp.nan)
  task = steps.task_of('batch')
  after, _ = steps.train_step(task, states[1], {'image': broken})
  assert after.failed_step == 1
  later, metrics = steps.train_step(task, after, {'image': tiny.images()})
  assert np.isfinite(metrics['loss'])
  for state in (after, later):
    unmarked = state.replace(failed_step=states[1].failed_step)
    tiny.assert_trees_equal(unmarked, states[1])
  assert later.failed_step == 1


def test_the_perceptual_distance_is_a_part_of_the_loss():
  _, metrics = steps.run('act')
  _, (_, output, _), _ = steps.naive('act', 0)
  task, images = steps.task_of('act'), tiny.images()
  distances = jax.jit(task.perceptual.apply)(
      task.perceptual_variables, images, output.images
  )
  perceptual = np.mean(distances)
  assert perceptual > 0.01
  np.testing.assert_allclose(metrics[0]['perceptual'], perceptual, rtol=1e-5)
  error = np.mean(np.square(output.images - images))
  np.testing.assert_allclose(metrics[0]['reconstruction'], error, rtol=1e-5)
  # The adversarial loss has not started yet.
  commitment = 0.25 * output.quantized.commitment_loss
  np.testing.assert_allclose(
      metrics[0]['loss'], error + commitment + 100 * perceptual, rtol=1e-5
  )


def test_the_adaptive_weight_balances_the_perceptual_part_too():
  states, metrics = steps.run('act')
  blind = steps.task_of('act').replace(
      perceptual=None, perceptual_variables=None
  )
  grads, _, _ = steps.naive_gradients(blind, states[1], tiny.images())
  kernel = grads['to_rgb']['conv']['kernel']
  without = 0.5 * np.linalg.norm(kernel[0]) / np.linalg.norm(kernel[2])
  assert abs(metrics[1]['adversarial_weight'] / without - 1) > 0.01


def test_the_weights_of_the_perceptual_network_are_given_to_each_step():
  task, states = steps.task_of('act'), steps.run('act')[0]
  # The state contains none of them, because they never change.
  shapes = {leaf.shape for leaf in jax.tree.leaves(states[0])}
  kernel = task.perceptual_variables['params']['Conv_0']['kernel']
  assert kernel.shape not in shapes
  blind = task.replace(
      perceptual_variables=jax.tree.map(
          lambda x: jax.device_put(jnp.zeros_like(x), x.sharding),
          task.perceptual_variables,
      )
  )
  compiled = steps.train_step._cache_size()
  _, metrics = steps.train_step(blind, states[0], {'image': tiny.images()})
  assert steps.train_step._cache_size() == compiled
  assert metrics['perceptual'] == 0
  np.testing.assert_allclose(
      metrics['loss'],
      metrics['reconstruction'] + 0.25 * metrics['commitment'],
      rtol=1e-6,
  )


def test_without_a_perceptual_loss_no_network_is_restored(tmp_path):
  loss = dict(perceptual_path=str(tmp_path / 'none'))
  task = tiny.stage1_task(tiny.stage1_config(loss=loss))
  assert task.perceptual is None and task.perceptual_variables is None
  assert 'perceptual' not in steps.run('plain')[1][0]
