import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import discriminator
from rq_jax.models import losses
from tests import official

# Names of our layers and of the official ones.
CONVS = {'conv_0': 'main.0', 'conv_1': 'main.2', 'conv_2': 'main.5'}
CONVS['conv_3'] = 'main.8'
NORMS = {'norm_1': 'main.3', 'norm_2': 'main.6'}

assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)


def _conv(state, name):
  params = {'kernel': np.transpose(state[f'{name}.weight'], (2, 3, 1, 0))}
  if f'{name}.bias' in state:
    params['bias'] = state[f'{name}.bias']
  return params


def _params(state):
  """Parameters from a state dict or from gradients under the same names."""
  return {ours: _conv(state, theirs) for ours, theirs in CONVS.items()} | {
      ours: official.norm(state, theirs) for ours, theirs in NORMS.items()
  }


def _statistics(state):
  return {
      ours: {
          'mean': state[f'{theirs}.running_mean'],
          'var': state[f'{theirs}.running_var'],
      }
      for ours, theirs in NORMS.items()
  }


def _recorded(prefix):
  recorded = official.recording('discriminator')
  return {
      name.removeprefix(prefix): value
      for name, value in recorded.items()
      if name.startswith(prefix)
  }


def _images(name):
  return jnp.asarray(official.images(_recorded('')[name]))


def _batch_norm_model():
  state = official.weights('discriminator', 'discriminator')
  variables = {'params': _params(state), 'batch_stats': _statistics(state)}
  model = discriminator.PatchDiscriminator(channels=16)
  return model, jax.tree.map(jnp.asarray, variables)


def _fake_then_real(model, variables, fake, real):
  """Logits of both, and the statistics after both."""
  train = functools.partial(model.apply, train=True, mutable=['batch_stats'])
  fake_logits, moved = train(variables, fake)
  real_logits, moved = train({**variables, **moved}, real)
  return fake_logits, real_logits, moved['batch_stats']


def test_training_normalizes_by_the_batch():
  model, variables = _batch_norm_model()
  fake, real, _ = _fake_then_real(
      model, variables, _images('fake'), _images('real')
  )
  assert_close(fake, _images('train_logits_fake'))
  assert_close(real, _images('train_logits_real'))


def test_training_moves_the_statistics_as_officially():
  model, variables = _batch_norm_model()
  logits, moved = model.apply(
      variables, _images('aw/out'), train=True, mutable=['batch_stats']
  )
  assert_close(logits, _images('aw/logits_fake'))
  expected = _statistics(_recorded('after_train/'))
  jax.tree.map(assert_close, moved['batch_stats'], expected)


def test_every_batch_moves_the_statistics_once_more():
  model, variables = _batch_norm_model()
  fake, real = _images('fake'), _images('real')
  *_, statistics = _fake_then_real(model, variables, fake, real)
  kernel = variables['params']['conv_0']['kernel']
  bias = variables['params']['conv_0']['bias'][None, None, None]
  convolve = functools.partial(
      jax.lax.conv_general_dilated,
      window_strides=(2, 2),
      padding=[(1, 1), (1, 1)],
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )
  mean = variables['batch_stats']['norm_1']['mean']
  var = variables['batch_stats']['norm_1']['var']
  for images in (fake, real):
    x = nn.leaky_relu(convolve(images, kernel) + bias, 0.2)
    x = convolve(x, variables['params']['conv_1']['kernel'])
    x = np.asarray(x).reshape(-1, 32)
    mean = 0.9 * mean + 0.1 * np.mean(x, axis=0)
    var = 0.9 * var + 0.1 * np.var(x, axis=0, ddof=1)
  assert_close(statistics['norm_1']['mean'], mean)
  assert_close(statistics['norm_1']['var'], var)


def test_evaluation_normalizes_by_the_statistics():
  model, variables = _batch_norm_model()
  for name in ('fake', 'real'):
    logits = model.apply(variables, _images(name), train=False)
    assert_close(logits, _images(f'eval_logits_{name}'))


@pytest.mark.slow
def test_gradients_of_both_players_agree_with_the_official_ones():
  model, variables = _batch_norm_model()
  recorded = _recorded('')

  def discriminator_loss(params, fake):
    fake, real, _ = _fake_then_real(
        model, {**variables, 'params': params}, fake, _images('real')
    )
    return 0.75 * losses.hinge_discriminator(real, fake)

  def generator_loss(params):
    logits, _ = model.apply(
        {**variables, 'params': params},
        _images('aw/out'),
        train=True,
        mutable=['batch_stats'],
    )
    return 0.75 * recorded['aw/weight'] * losses.generator(logits)

  loss, (grads, grad_fake) = jax.value_and_grad(
      discriminator_loss, argnums=(0, 1)
  )(variables['params'], _images('fake'))
  assert_close(loss, recorded['train_hinge_x075'])
  assert_close(grad_fake, _images('grad_fake'))
  # PyTorch accumulated the gradients of both losses (see fixtures/README.md).
  both = jax.tree.map(
      jnp.add, grads, jax.grad(generator_loss)(variables['params'])
  )
  jax.tree.map(assert_close, both, _params(_recorded('grad/')))


def _act_norm_model():
  with np.load(official.FIXTURES / 'discriminator/model_actnorm.npz') as arrays:
    params = {
        ours: jax.tree.map(jnp.asarray, _conv(arrays, theirs))
        for ours, theirs in CONVS.items()
    }
  model = discriminator.PatchDiscriminator(channels=16, norm='act')
  variables = model.init(jax.random.key(0), _images('fake'), train=True)
  variables = nn.unbox(variables)
  return model, {**variables, 'params': variables['params'] | params}


def test_act_norm_is_fitted_to_the_first_training_batch():
  model, variables = _act_norm_model()
  logits, fitted = model.apply(
      variables, _images('fake'), train=True, mutable=['batch_stats']
  )
  assert_close(logits, _images('actnorm_train_first'))
  recorded = _recorded('actnorm_after/')
  for ours, theirs in NORMS.items():
    start = fitted['batch_stats'][ours]
    assert_close(start['shift'], recorded[f'{theirs}.loc'].ravel())
    assert_close(start['scale'], recorded[f'{theirs}.scale'].ravel())
  # Later batches do not change it, in training or not.
  variables |= fitted
  _, again = model.apply(
      variables, _images('real'), train=True, mutable=['batch_stats']
  )
  jax.tree.map(np.testing.assert_array_equal, again, fitted)
  logits = model.apply(variables, _images('fake'), train=False)
  assert_close(logits, _images('actnorm_train_first'))


def test_act_norm_evaluates_as_the_official_one():
  model, variables = _act_norm_model()
  with np.load(official.FIXTURES / 'discriminator/model_actnorm.npz') as arrays:
    start = {
        ours: {
            'shift': arrays[f'{theirs}.loc'].ravel(),
            'scale': arrays[f'{theirs}.scale'].ravel(),
            'fitted': True,
        }
        for ours, theirs in NORMS.items()
    }
  logits = model.apply(
      {**variables, 'batch_stats': start}, _images('fake'), train=False
  )
  assert_close(logits, _images('actnorm_eval_fake'))


def test_parameters_of_act_norm_add_to_its_start():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2, 2, 3)) * 3 + 1)
  x = x.astype(jnp.float32)
  model = discriminator.ActNorm()
  variables = model.init(jax.random.key(0), x, train=True)
  y, fitted = model.apply(variables, x, train=True, mutable=['batch_stats'])
  assert_close(jnp.mean(y, axis=(0, 1, 2)), np.zeros(3))
  assert_close(jnp.std(y, axis=(0, 1, 2), ddof=1), np.ones(3))
  params = {'shift': jnp.full([3], 2.0), 'scale': jnp.full([3], -1.0)}
  z = model.apply({'params': params, **fitted}, x, train=True)
  scale = fitted['batch_stats']['scale'][None, None, None]
  assert_close(z, (y / scale + 2) * (scale - 1), atol=1e-4)


def test_no_gradient_flows_through_the_fit_of_act_norm():
  model = discriminator.ActNorm()
  x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2, 2, 3)))
  x = x.astype(jnp.float32)
  variables = model.init(jax.random.key(0), x, train=True)
  fit, fitted = model.apply(variables, x, train=True, mutable=['batch_stats'])
  first = jax.grad(lambda x: model.apply(variables, x, train=True).sum())(x)
  variables = {**variables, **fitted}
  later = jax.grad(lambda x: model.apply(variables, x, train=True).sum())(x)
  assert np.all(np.isfinite(fit))
  assert_close(first, later)


@pytest.mark.slow
@pytest.mark.parametrize('norm', ['batch', 'act'])
def test_initial_weights_are_drawn_as_officially(norm):
  model = discriminator.PatchDiscriminator(norm=norm)
  images = jnp.zeros([1, 32, 32, 3])
  variables = nn.unbox(model.init(jax.random.key(0), images, train=True))
  params = variables['params']
  kernel = params['conv_2']['kernel']
  np.testing.assert_allclose(jnp.std(kernel), 0.02, rtol=0.01)
  np.testing.assert_allclose(jnp.mean(kernel), 0.0, atol=1e-4)
  bound = 1 / np.sqrt(3 * 4 * 4)
  bias = np.abs(params['conv_0']['bias'])
  assert 0.9 * bound < bias.max() <= bound
  if norm == 'batch':
    scale = params['norm_2']['scale']
    np.testing.assert_allclose(jnp.std(scale), 0.02, rtol=0.15)
    np.testing.assert_allclose(jnp.mean(scale), 1.0, atol=5e-3)
    assert not np.any(params['norm_2']['bias'])
    assert 'bias' not in params['conv_1']
  else:
    # `init` must not take its input for the first batch.
    assert not variables['batch_stats']['norm_1']['fitted']
    assert 'bias' in params['conv_1']


def test_kernels_name_their_axes():
  model = discriminator.PatchDiscriminator(channels=4, layers=3)
  variables = jax.eval_shape(
      functools.partial(model.init, train=True),
      jax.random.key(0),
      jnp.zeros([1, 32, 32, 3]),
  )
  specs = nn.get_partition_spec(variables)['params']
  kernels = {name: s['kernel'] for name, s in specs.items() if 'kernel' in s}
  expected = jax.sharding.PartitionSpec(None, None, 'conv_in', 'conv_out')
  assert kernels == {f'conv_{i}': expected for i in range(5)}


def test_half_precision_gives_float32_logits_near_the_exact_ones():
  model, variables = _batch_norm_model()
  half = model.clone(dtype='bfloat16')
  exact = model.apply(variables, _images('fake'), train=False)
  logits = half.apply(variables, _images('fake'), train=False)
  assert logits.dtype == jnp.float32
  assert 0 < np.max(np.abs(logits - exact)) < 0.05 * np.std(exact) + 0.02


def test_an_unknown_normalization_is_refused():
  model = discriminator.PatchDiscriminator(norm='group')
  with pytest.raises(ValueError, match='config.discriminator.norm'):
    model.init(jax.random.key(0), jnp.zeros([1, 32, 32, 3]), train=True)
