import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import losses
from tests import official
from tests import programs

rng = np.random.default_rng(0)


def test_reconstruction_is_the_mean_over_all_pixels():
  images, recons = rng.normal(size=(2, 2, 3, 3, 3)).astype(np.float32)
  images, recons = jnp.asarray(images), jnp.asarray(recons)
  np.testing.assert_allclose(
      losses.reconstruction(images, recons, 'mse'),
      np.mean((np.asarray(images) - recons) ** 2),
      rtol=1e-6,
  )
  np.testing.assert_allclose(
      losses.reconstruction(images, recons, 'l1'),
      np.mean(np.abs(np.asarray(images) - recons)),
      rtol=1e-6,
  )


def test_half_precision_reconstructions_are_compared_in_float32():
  images = jnp.full([1, 64, 64, 3], 1.0)
  recons = jnp.full([1, 64, 64, 3], 0.99, jnp.bfloat16)
  loss = losses.reconstruction(images, recons)
  assert loss.dtype == jnp.float32
  np.testing.assert_allclose(loss, (1 - float(recons[0, 0, 0, 0])) ** 2)


def test_an_unknown_reconstruction_loss_is_refused():
  with pytest.raises(ValueError, match='config.loss.reconstruction'):
    losses.reconstruction(jnp.zeros([1]), jnp.zeros([1]), 'huber')


def test_adversarial_losses_agree_with_the_official_ones():
  recorded = official.recording('discriminator')
  fake = jnp.asarray(recorded['eval_logits_fake'])
  real = jnp.asarray(recorded['eval_logits_real'])
  for ours, theirs in (
      (losses.hinge_discriminator(real, fake), 'hinge_d_mean'),
      (losses.vanilla_discriminator(real, fake), 'vanilla_d_mean'),
      (losses.generator(fake), 'vanilla_g_mean'),
  ):
    np.testing.assert_allclose(ours, recorded[theirs], rtol=1e-6)


def test_confident_logits_cost_the_hinge_nothing_and_the_rest_linearly():
  hinge = losses.hinge_discriminator
  assert hinge(jnp.array([1.5, 9.0]), jnp.array([-1.0, -7.0])) == 0
  assert hinge(jnp.array([-2.0]), jnp.array([-1.0])) == 1.5
  assert hinge(jnp.array([1.0]), jnp.array([3.0])) == 2.0


def test_the_adaptive_weight_agrees_with_the_official_one():
  recorded = official.recording('discriminator')
  weight = losses.adaptive_weight(
      jnp.asarray(recorded['aw/nll_grad']), jnp.asarray(recorded['aw/g_grad'])
  )
  np.testing.assert_allclose(weight, recorded['aw/weight'], rtol=1e-5)


def test_the_adaptive_weight_is_bounded_and_passes_no_gradient():
  weight, grad = jax.value_and_grad(losses.adaptive_weight)(
      jnp.array([[3.0, 4.0]]), jnp.zeros([1, 2])
  )
  assert weight == 1e4
  np.testing.assert_array_equal(grad, np.zeros([1, 2]))
  np.testing.assert_allclose(
      losses.adaptive_weight(jnp.array([3.0, 4.0]), jnp.array([0.0, 2.0])),
      5 / 2.0001,
      rtol=1e-6,
  )


def test_soft_targets_cost_what_the_definition_says():
  logits = rng.normal(size=(2, 3, 7)) * 5
  targets = rng.dirichlet(np.ones(7), size=(2, 3))
  log_p = logits - np.log(np.sum(np.exp(logits), -1, keepdims=True))
  np.testing.assert_allclose(
      losses.soft_target_cross_entropy(jnp.array(logits), jnp.array(targets)),
      -np.sum(targets * log_p, -1),
      rtol=1e-5,
  )


def test_targets_without_doubt_cost_what_hard_codes_cost():
  logits = jnp.asarray(rng.normal(size=(2, 3, 7)), jnp.float32)
  codes = jnp.array([[0, 6, 3], [2, 2, 5]])
  hard = losses.cross_entropy(logits, codes)
  chosen = [-jax.nn.log_softmax(logits[i, j])[codes[i, j]] for i, j in _pairs()]
  np.testing.assert_allclose(hard.ravel(), chosen, rtol=1e-5)
  soft = losses.soft_target_cross_entropy(logits, jax.nn.one_hot(codes, 7))
  np.testing.assert_allclose(soft, hard, rtol=1e-5)


def test_half_precision_logits_are_summed_in_float32():
  # A bfloat16 sum of this many equal terms would stop growing.
  logits = jnp.zeros([1, 4096], jnp.bfloat16)
  targets = jnp.full([1, 4096], 1 / 4096, jnp.bfloat16)
  for loss in (
      losses.soft_target_cross_entropy(logits, targets),
      losses.cross_entropy(logits, jnp.array([7])),
  ):
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, np.log([4096.0]), rtol=1e-6)


B, T, D, K, E = 8, 8, 2, 32, 4


@functools.cache
def _problem():
  make = np.random.default_rng(1).normal
  params = {'kernel': jnp.asarray(make(size=(E, K)), jnp.float32)}
  hidden = jnp.asarray(make(size=(B, T, D, E)), jnp.float32)
  features = jnp.asarray(make(size=(B, T, D)), jnp.float32)
  return params, hidden, features


def _mean_loss(params, hidden, features, num_chunks):
  """A loss whose logits and targets are both [B, t, D, K]."""

  def per_code(hidden, features):
    logits = hidden @ params['kernel']
    grid = jnp.linspace(-1, 1, K).reshape(1, 1, 1, K)
    targets = jax.nn.softmax(-jnp.square(features[..., None] - grid))
    codes = jnp.argmax(targets, axis=-1)
    return {
        'soft': losses.soft_target_cross_entropy(logits, targets),
        'hard': losses.cross_entropy(logits, codes),
    }

  loss = losses.chunked_over_positions(
      per_code, hidden, features, num_chunks=num_chunks
  )
  # Positions have different weights, so that a reordering would be noticed.
  weights = jnp.arange(B * T * D).reshape(B, T, D) / (B * T * D)
  return jnp.mean(weights * (loss['soft'] + 0.1 * loss['hard']))


@pytest.mark.slow
@pytest.mark.parametrize('num_chunks', [2, 4, 8])
def test_chunks_change_neither_the_loss_nor_its_gradients(num_chunks):
  grad = jax.value_and_grad(_mean_loss, argnums=(0, 1, 2))
  whole, whole_grads = grad(*_problem(), 1)
  loss, grads = grad(*_problem(), num_chunks)
  np.testing.assert_allclose(loss, whole, rtol=1e-6)
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
      grads,
      whole_grads,
  )


def test_the_logits_of_all_positions_never_exist_at_once():
  def largest(num_chunks):
    step = jax.grad(_mean_loss, argnums=(0, 1, 2))
    jaxpr = jax.make_jaxpr(step, static_argnums=3)(*_problem(), num_chunks)
    return max(value.size for value in programs.values_in(jaxpr.jaxpr))

  assert largest(1) == B * T * D * K
  assert largest(4) == B * T * D * K // 4


@pytest.mark.slow
def test_chunks_leave_a_batch_where_the_mesh_has_put_it():
  mesh = jax.make_mesh(
      (jax.device_count(),),
      ('data',),
      axis_types=(jax.sharding.AxisType.Auto,),
  )
  P = jax.sharding.PartitionSpec
  split = jax.sharding.NamedSharding(mesh, P('data'))
  whole = jax.sharding.NamedSharding(mesh, P())
  params, hidden, features = _problem()
  arguments = (
      jax.device_put(params, whole),
      jax.device_put(hidden, split),
      jax.device_put(features, split),
  )
  step = jax.jit(
      jax.value_and_grad(_mean_loss, argnums=(0, 1)), static_argnums=3
  )
  compiled = step.lower(*arguments, 4).compile()
  assert 'all-gather' not in compiled.as_text()
  assert 'all-to-all' not in compiled.as_text()
  loss, (grads, _) = compiled(*arguments)
  expected, (expected_grads, _) = step(params, hidden, features, 1)
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  np.testing.assert_allclose(
      grads['kernel'], expected_grads['kernel'], rtol=1e-5, atol=1e-7
  )


def test_chunks_must_divide_the_positions():
  with pytest.raises(ValueError, match='num_chunks=3 must divide'):
    losses.chunked_over_positions(lambda x: x, jnp.zeros([2, 8]), num_chunks=3)


def test_chunks_are_as_large_as_the_budget_allows():
  # The whole map: 4 bytes x 256 x 64 x 4 x 16384 = 4 GiB; 16 x 256 MiB.
  assert losses.num_position_chunks(256, 64, 4, 16384) == 16
  assert losses.num_position_chunks(257, 64, 4, 16384) == 32
  assert losses.num_position_chunks(1, 64, 4, 16384) == 1
  # Only divisors of the number of positions are possible.
  # 4 bytes x 1000 x 15 x 16384 fill 3.7 times the budget; 4 does not divide 15.
  assert losses.num_position_chunks(1000, 15, 1, 16384) == 5
  # Even a single position may exceed the budget.
  assert losses.num_position_chunks(9999, 64, 4, 16384) == 64


def _pairs():
  return [(i, j) for i in range(2) for j in range(3)]
