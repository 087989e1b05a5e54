import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.models import blocks
from tests import random_numbers
from tests.models import drawn

assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)


def maps(channels=8, side=4):
  rng = np.random.default_rng(0)
  return rng.normal(size=(2, side, side, channels)).astype(np.float32)


def made(module, x):
  """Parameters of a module, and a compiled application."""
  params = drawn.variables(module, x)['params']
  return params, jax.jit(lambda params, x: module.apply({'params': params}, x))


def group_norm(params, x, groups):
  b, h, w, c = x.shape
  x = np.float64(x).reshape(b, h, w, groups, c // groups)
  x = x - x.mean((1, 2, 4), keepdims=True)
  x = x / np.sqrt(np.square(x).mean((1, 2, 4), keepdims=True) + 1e-6)
  return x.reshape(b, h, w, c) * params['scale'] + params['bias']


@pytest.mark.parametrize(('channels', 'kernel'), [(8, 3), (16, 1)])
def test_convolutions_start_as_in_pytorch(channels, kernel):
  module = blocks.Conv(64, kernel)
  init = jax.jit(lambda x: module.init(jax.random.key(0), x))
  params = partitioning.unbox(init(maps(channels)))['params']['conv']
  bound = 1 / math.sqrt(channels * kernel**2)
  for values in (params['kernel'], params['bias']):
    assert 0.9 * bound < np.abs(values).max() <= bound
  # The deviation of a uniform number is its bound / sqrt(3).
  deviation = params['kernel'].std()
  np.testing.assert_allclose(deviation, bound / math.sqrt(3), rtol=0.1)


@pytest.mark.parametrize(
    ('platform', 'kernel', 'products'),
    [('cuda', 1, 1), ('cuda', 3, 0), ('cpu', 1, 0), ('tpu', 1, 0)],
)
def test_only_gpus_multiply_by_kernels_of_one_pixel(platform, kernel, products):
  module = blocks.Conv(5, kernel)
  params, _ = made(module, maps())
  apply = jax.jit(lambda x: module.apply({'params': params}, x))
  lowered = apply.trace(maps()).lower(lowering_platforms=(platform,))
  text = lowered.as_text()
  assert text.count('stablehlo.dot_general') == products
  assert text.count('stablehlo.convolution') == 1 - products


def test_groups_are_normalized_together():
  # Large means, small deviations: a fast variance would be wrong.
  x = maps() + 100 * np.arange(8, dtype=np.float32)
  params, apply = made(blocks.GroupNorm(2), x)
  assert_close(apply(params, x), group_norm(params['norm'], x, 2), rtol=1e-4)


def test_small_maps_are_normalized_with_the_official_epsilon():
  x = 1e-3 * maps()
  params, apply = made(blocks.GroupNorm(4), x)
  assert_close(apply(params, x), group_norm(params['norm'], x, 4), atol=1e-4)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_gradients_of_a_normalization_are_those_of_its_formula(dtype):
  def formula(params, x):
    grouped = x.astype(jnp.float32).reshape(2, 5, 3, 2, 4)
    mean = jnp.mean(grouped, (1, 2, 4), keepdims=True)
    variance = jnp.var(grouped, (1, 2, 4), keepdims=True)
    normed = (grouped - mean) / jnp.sqrt(variance + 1e-6)
    scale, bias = (params[n].reshape(1, 1, 1, 8) for n in ('scale', 'bias'))
    return normed.reshape(x.shape) * scale + bias

  x, gradient = np.random.default_rng(1).normal(size=(2, 2, 5, 3, 8))
  x, gradient = x.astype(dtype), gradient.astype(dtype)
  module = blocks.GroupNorm(2, dtype)
  params, _ = made(module, x)
  out, pull = jax.vjp(lambda p, x: module.apply({'params': p}, x), params, x)
  names = {name: params['norm'][name] for name in ('scale', 'bias')}
  _, expected = jax.vjp(formula, names, x)
  found, of_x = pull(gradient)
  expected, expected_of_x = expected(gradient.astype(np.float32))
  assert out.dtype == of_x.dtype == dtype
  rounding = {'float32': 1e-5, 'bfloat16': 0.05}[dtype]
  for name in names:
    assert_close(found['norm'][name], expected[name], atol=10 * rounding)
  assert_close(np.float32(of_x), np.float32(expected_of_x), atol=rounding)


def test_a_residual_block_adds_to_its_input():
  module = blocks.ResBlock(8, groups=4)
  params, apply = made(module, maps())
  assert np.abs(apply(params, maps()) - maps()).max() > 0.1
  assert 'shortcut' not in params
  params['conv2'] = jax.tree.map(np.zeros_like, params['conv2'])
  assert_close(apply(params, maps()), maps())


def test_a_residual_block_adapts_its_shortcut_to_other_channels():
  params, apply = made(blocks.ResBlock(12, groups=4), maps())
  params['conv2'] = jax.tree.map(np.zeros_like, params['conv2'])
  shortcut = params['shortcut']['conv']
  expected = maps() @ np.asarray(shortcut['kernel'])[0, 0]
  assert_close(apply(params, maps()), expected + np.asarray(shortcut['bias']))


def test_dropout_acts_in_training_alone():
  module = blocks.ResBlock(8, groups=4, dropout=0.5)
  params, apply = made(module, maps())
  _, without = made(blocks.ResBlock(8, groups=4), maps())
  np.testing.assert_array_equal(apply(params, maps()), without(params, maps()))

  @jax.jit
  def train(rng):
    rngs = {'dropout': rng}
    return module.apply({'params': params}, maps(), True, rngs=rngs)

  keys = (random_numbers.key(k) for k in (0, 1))
  first, second = (np.asarray(train(key)) for key in keys)
  assert np.abs(first - apply(params, maps())).max() > 0.01
  assert np.abs(first - second).max() > 0.01


def test_attention_mixes_all_positions_of_a_map():
  params, apply = made(blocks.AttentionBlock(groups=4), maps())
  normed = group_norm(params['norm']['norm'], maps(), 4).reshape(2, 16, 8)

  def project(name, x):
    layer = jax.tree.map(np.asarray, params[name]['conv'])
    return x @ layer['kernel'][0, 0] + layer['bias']

  q, k, v = (project(name, normed) for name in ('query', 'key', 'value'))
  scores = q @ k.swapaxes(1, 2) / math.sqrt(8)
  weights = np.exp(scores - scores.max(-1, keepdims=True))
  weights /= weights.sum(-1, keepdims=True)
  expected = maps() + project('out', weights @ v).reshape(2, 4, 4, 8)
  assert_close(apply(params, maps()), expected)


def _delta(channels, row, column):
  """A kernel that picks one neighbour."""
  kernel = np.zeros((3, 3, channels, channels), np.float32)
  kernel[row, column] = np.eye(channels)
  return {'conv': {'conv': {'kernel': kernel, 'bias': np.zeros(channels)}}}


def test_downsampling_pads_the_right_and_the_bottom_alone():
  _, apply = made(blocks.Downsample(), maps())
  padded = np.pad(maps(), ((0, 0), (0, 1), (0, 1), (0, 0)))
  for row in range(3):
    for column in range(3):
      np.testing.assert_array_equal(
          apply(_delta(8, row, column), maps()),
          padded[:, row : row + 4 : 2, column : column + 4 : 2][:, :2, :2],
      )


def test_upsampling_repeats_every_pixel_before_it_convolves():
  _, apply = made(blocks.Upsample(), maps())
  repeated = maps().repeat(2, axis=1).repeat(2, axis=2)
  np.testing.assert_array_equal(apply(_delta(8, 1, 1), maps()), repeated)
  above = np.pad(repeated, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]
  np.testing.assert_array_equal(apply(_delta(8, 0, 1), maps()), above)


@pytest.mark.parametrize(
    ('block', 'options'),
    [
        (blocks.ResBlock, dict(features=12, groups=4)),
        (blocks.AttentionBlock, dict(groups=4)),
        (blocks.Downsample, {}),
        (blocks.Upsample, {}),
    ],
)
def test_bfloat16_stays_close_to_float32(block, options):
  params, apply = made(block(**options), maps())
  _, rounded = made(block(**options, dtype='bfloat16'), maps())
  out = rounded(params, maps().astype(jnp.bfloat16))
  assert out.dtype == jnp.bfloat16
  # bfloat16 has 8 significant bits; the numbers go up to 8.
  np.testing.assert_allclose(np.float32(out), apply(params, maps()), 0.1, 0.1)
