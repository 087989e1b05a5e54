"""The network of FID against recordings of PyTorch, with random weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import inception
from tests import official

pytestmark = pytest.mark.slow

# Images of different sizes; the first recording has two. The repository has
# only the smallest ones.
RECORDED = range(5)


def assert_close(made, recorded):
  """Allows rounding, which grows with the size of the layer's outputs."""
  size = np.sqrt(np.mean(np.square(recorded, dtype='f8')))
  np.testing.assert_allclose(made, recorded, rtol=0, atol=1e-5 * size)


def interpolated(images, size, axis):
  """Linear interpolation along an axis, with aligned borders of pixels."""
  length = images.shape[axis]
  at = (np.arange(size) + 0.5) * length / size - 0.5
  low = np.floor(at).astype(int)
  low_pixels = images.take(np.clip(low, 0, length - 1), axis)
  high_pixels = images.take(np.clip(low + 1, 0, length - 1), axis)
  weight = np.expand_dims(at - low, tuple(range(1, images.ndim - axis)))
  return low_pixels * (1 - weight) + high_pixels * weight


def resized(images):
  """uint8[B, 3, Y, X] -> float64[B, 299, 299, 3] in [0, 1]."""
  images = official.images(images).astype('f8') / 255
  return interpolated(interpolated(images, 299, 1), 299, 2)


@functools.cache
def results():
  """Results for all recorded images that are there, by name and recording."""
  recording = official.recording('inception')
  names = [i for i in RECORDED if f'img{i}' in recording]
  parts = [resized(recording[f'img{i}']) for i in names]
  images = jnp.asarray(2 * np.concatenate(parts) - 1, jnp.float32)
  variables = official.inception_variables(official.drawn_weights('inception'))
  made, captured = compute(variables, images)
  made |= captured
  starts = np.cumsum([0, *map(len, parts)])
  ends = dict(zip(names, zip(starts[:-1], starts[1:])))
  return {name: np.asarray(a) for name, a in made.items()}, ends


@jax.jit
def compute(variables, images):
  """The results, and the outputs of some blocks and branches."""
  kept = ('Mixed_6e', 'branch1x1')
  made, state = inception.InceptionV3().apply(
      variables,
      images,
      capture_intermediates=lambda part, _: part.name in kept,
      mutable=['intermediates'],
  )
  captured = jax.tree.map(
      lambda leaves: leaves[0],
      state['intermediates'],
      is_leaf=lambda node: isinstance(node, tuple),
  )
  return made, {
      'Mixed_6d.branch1x1': captured['Mixed_6d']['branch1x1']['__call__'],
      'Mixed_6e': captured['Mixed_6e']['__call__'],
  }


def result(name, index):
  made, ends = results()
  if index not in ends:
    pytest.skip(f'img{index} is only tested where RQ_JAX_FIXTURES holds it')
  return made[name][slice(*ends[index])]


@pytest.mark.parametrize('index', RECORDED)
def test_features_and_logits_are_the_recorded_ones(index):
  recording = official.recording('inception')
  made = result('pool', index)
  assert made.dtype == np.float32
  assert_close(made, recording[f'feat{index}'])
  assert_close(result('logits', index), recording[f'logits{index}'])


def test_the_output_of_mixed_6e_is_the_recorded_one():
  recording = official.recording('inception')
  block = result('Mixed_6e', 0).astype('f8')
  assert_close(np.mean(block, axis=(1, 2)), recording['block2_mean'])
  deviation = np.std(block, axis=(1, 2), ddof=1)
  assert_close(deviation, recording['block2_std'])


def test_unbiased_logits_lack_only_the_bias():
  bias = official.drawn_weights('inception')['fc.bias']
  made = result('unbiased_logits', 0).astype('f8') + bias
  assert_close(made, official.recording('inception')['logits0'])


def test_spatial_features_are_seven_channels_pixel_by_pixel():
  """ADM flattens a map of TensorFlow, whose channels are the last axis."""
  with np.load(official.FIXTURES / 'inception' / 'spatial.npz') as recorded:
    assert_close(result('spatial', 0), recorded['spatial0'])
  maps = result('Mixed_6d.branch1x1', 0)
  assert maps.shape == (2, 17, 17, 192)
  for image, features in zip(maps, result('spatial', 0)):
    expected = [
        image[y, x, c] for y in range(17) for x in range(17) for c in range(7)
    ]
    np.testing.assert_array_equal(features, expected)
