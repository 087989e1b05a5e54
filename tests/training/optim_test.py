import json
import types

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rq_jax.training import optim
from tests import official


def _config(**fields):
  defaults = {
      'name': 'adam',
      'peak_lr': 1e-2,
      'betas': (0.5, 0.9),
      'eps': 1e-8,
      'weight_decay': 0.0,
      'clip_norm': 0.0,
      'warmup_steps': 0,
      'schedule': 'constant',
      'min_lr': 0.0,
  }
  return types.SimpleNamespace(**defaults | fields)


@pytest.mark.parametrize(
    'name',
    [
        'imagenet_stage1',
        'ffhq_stage1',
        'lsun_stage1',
        'stage2_cosine',
        'warmup_cosine',
    ],
)
def test_learning_rates_agree_with_the_official_ones(name):
  meta = json.loads((official.FIXTURES / 'schedule/meta.json').read_text())
  (case,) = (case for case in meta['cases'] if case['name'] == name)
  total = case['epochs'] * case['steps_per_epoch']
  config = _config(
      peak_lr=case['init_lr'],
      min_lr=case['warmup']['min_lr'],
      warmup_steps=round(case['warmup']['epoch'] * case['steps_per_epoch']),
      schedule='cosine',
  )
  schedule = optim.make_schedule(config, total)
  np.testing.assert_allclose(
      jax.vmap(schedule)(jnp.arange(total)),
      official.recording('schedule')[f'{name}/lr_used'][:total],
      rtol=1e-5,
      atol=1e-6 * case['init_lr'],
  )


def test_past_the_end_the_rate_stays_at_its_minimum():
  config = _config(schedule='cosine', min_lr=1e-3, warmup_steps=10)
  schedule = optim.make_schedule(config, 100)
  assert schedule(99) > 1e-3
  np.testing.assert_allclose([schedule(100), schedule(150)], 1e-3, rtol=1e-6)


def test_a_constant_rate_warms_up_as_well():
  schedule = optim.make_schedule(_config(warmup_steps=4), 10)
  np.testing.assert_allclose(
      [schedule(i) for i in (0, 1, 3, 4, 9, 50)],
      [0, 0.25e-2, 0.75e-2, 1e-2, 1e-2, 1e-2],
      rtol=1e-6,
  )


def test_a_run_may_end_within_its_warm_up():
  schedule = optim.make_schedule(_config(schedule='cosine', warmup_steps=10), 5)
  np.testing.assert_allclose(schedule(4), 0.4e-2, rtol=1e-6)


@pytest.mark.parametrize(
    ('name', 'fields'),
    [
        ('opt_adam', {}),
        ('opt_adam_wd', {'weight_decay': 0.1}),
        (
            'opt_adamw',
            {'name': 'adamw', 'betas': (0.9, 0.95), 'weight_decay': 0.1},
        ),
        (
            'opt_adamw_clip1',
            {
                'name': 'adamw',
                'betas': (0.9, 0.95),
                'weight_decay': 1e-4,
                'clip_norm': 1.0,
            },
        ),
    ],
)
def test_optimizers_step_as_the_official_ones(name, fields):
  recorded = official.recording('schedule')
  optimizer = optim.make_optimizer(_config(**fields), 6)
  params = {'kernel': jnp.asarray(recorded['opt_p0'])}
  state = optimizer.init(params)
  for grad, expected in zip(recorded['opt_grads'], recorded[name], strict=True):
    updates, state = optimizer.update(
        {'kernel': jnp.asarray(grad)}, state, params
    )
    params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params['kernel'], expected, rtol=1e-6, atol=1e-6)


def test_gradients_are_clipped_by_their_common_norm():
  config = _config(clip_norm=1.0, eps=1.0, betas=(0.0, 0.0))
  optimizer = optim.make_optimizer(config, 1)
  params = {'a': jnp.zeros([1]), 'b': jnp.zeros([1])}
  grads = {'a': jnp.array([6.0]), 'b': jnp.array([8.0])}
  updates, _ = optimizer.update(grads, optimizer.init(params), params)
  # Clipped to 0.6 and 0.8; Adam then divides by 1 + |g|.
  np.testing.assert_allclose(updates['a'], [-1e-2 * 0.6 / 1.6], rtol=1e-5)
  np.testing.assert_allclose(updates['b'], [-1e-2 * 0.8 / 1.8], rtol=1e-5)


class _Layer(nn.Module):

  @nn.compact
  def __call__(self, x, _):
    partitioned = nn.with_logical_partitioning(
        nn.initializers.lecun_normal(), ('embed', 'mlp')
    )
    x = nn.LayerNorm(name='norm')(x)
    return nn.Dense(4, kernel_init=partitioned, name='mlp')(x), None


class _Model(nn.Module):

  @nn.compact
  def __call__(self, codes):
    layers = nn.scan(
        _Layer,
        variable_axes={'params': 0},
        split_rngs={'params': True},
        length=3,
        metadata_params={nn.PARTITION_NAME: 'layers'},
    )
    x = nn.Embed(8, 4, name='code_embedding')(codes)
    position = self.param('position', nn.initializers.normal(), (5, 4))
    return layers(name='layers')(x + position[None], None)[0]


def _init():
  return _Model().init(jax.random.key(0), jnp.zeros([2, 5], int))['params']


@pytest.mark.parametrize('name', ['adam', 'adamw'])
def test_only_kernels_decay_in_scanned_layers_too(name):
  config = _config(name=name, weight_decay=0.1)
  optimizer = optim.make_optimizer(config, 1)
  params = jax.tree.map(jnp.ones_like, nn.unbox(_init()))
  zeros = jax.tree.map(jnp.zeros_like, params)
  updates, _ = optimizer.update(zeros, optimizer.init(params), params)
  moved = {
      '/'.join(str(key.key) for key in path)
      for path, update in jax.tree_util.tree_leaves_with_path(updates)
      if np.any(update)
  }
  assert moved == {'layers/mlp/kernel'}


def test_boxes_with_logical_axes_stay_around_the_moments():
  optimizer = optim.make_optimizer(_config(name='adamw', weight_decay=0.1), 1)

  def init():
    params = _init()
    return params, optimizer.init(params)

  params, state = jax.eval_shape(init)
  (moments,) = (s for s in state if isinstance(s, optax.ScaleByAdamState))
  specs = nn.get_partition_spec(moments.mu)
  assert specs == nn.get_partition_spec(params)
  kernel = jax.sharding.PartitionSpec('layers', 'embed', 'mlp')
  assert specs['layers']['mlp']['kernel'] == kernel
  decays = nn.unbox(optim.decays(params))
  assert decays['layers']['mlp'] == {'kernel': True, 'bias': False}
  assert decays['code_embedding'] == {'embedding': False}
  assert decays['position'] is False


def test_boxed_and_plain_parameters_decay_alike():
  optimizer = optim.make_optimizer(_config(name='adamw', weight_decay=0.1), 1)

  def step(params):
    return optimizer.update(
        jax.tree.map(jnp.ones_like, params), optimizer.init(params), params
    )[0]

  boxed = nn.unbox(step(_init()))
  plain = step(nn.unbox(_init()))
  jax.tree.map(np.testing.assert_array_equal, boxed, plain)


def test_unknown_names_are_refused_with_the_flag_to_change():
  with pytest.raises(ValueError, match='config.optimizer.name'):
    optim.make_optimizer(_config(name='sgd'), 1)
  with pytest.raises(ValueError, match='config.optimizer.schedule'):
    optim.make_optimizer(_config(schedule='linear'), 1)


def test_averages_move_by_the_official_rule():
  recorded = official.recording('ema')
  params = {'w': jnp.asarray(recorded['w'])}
  ema = {'w': jnp.asarray(recorded['w_ema_none'])}
  for step in (0, 5, 1000):
    ema = optim.update_ema(ema, params, decay=0.9, step=step)
    np.testing.assert_allclose(
        ema['w'], recorded[f'w_ema_after_step{step}'], rtol=1e-6, atol=1e-7
    )


def test_the_decay_of_averages_grows_to_its_final_value():
  def remains(step):
    step = jnp.asarray(step, jnp.int32)
    one, zero = {'w': jnp.ones([])}, {'w': jnp.zeros([])}
    return jax.jit(
        lambda s: optim.update_ema(one, zero, decay=0.999, step=s)['w']
    )(step)

  np.testing.assert_allclose(remains(0), 1 / 10, rtol=1e-6)
  np.testing.assert_allclose(remains(90), 91 / 100, rtol=1e-6)
  np.testing.assert_allclose(remains(10**6), 0.999, rtol=1e-6)
