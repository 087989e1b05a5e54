"""LPIPS against a recording of the official code, with random weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.models import lpips
from tests import official

pytestmark = pytest.mark.slow

# The last convolution of each level.
LAST = (1, 3, 6, 9, 12)

# Compared values are around 1, or divided by the largest of them.
assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)
# Distances of the recorded images are around 0.01.
assert_distances_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-10
)


@functools.cache
def params():
  weights = official.lpips_params(official.drawn_weights('lpips'))
  return jax.tree.map(jnp.asarray, weights)


def recorded(name):
  return official.recording('lpips')[name]


def images():
  return [jnp.asarray(official.images(recorded(name))) for name in 'xy']


@functools.partial(jax.jit, static_argnames='dtype')
def compare(params, x, y, dtype='float32'):
  """Distances, features of both images, gradient with respect to the second."""

  def total(y):
    distances, captured = lpips.LPIPS(dtype=dtype).apply(
        {'params': params},
        x,
        y,
        capture_intermediates=True,
        mutable=['intermediates'],
    )
    return jnp.mean(distances), (distances, captured['intermediates'])

  grad, (distances, captured) = jax.grad(total, has_aux=True)(y)
  features = []
  for index in LAST:
    pairs = jnp.stack(captured[f'conv_{index}']['__call__'], axis=1)
    features.append(jax.nn.relu(pairs))
  return distances, features, grad


@functools.cache
def results():
  return compare(params(), *images())


def reference(features, weight):
  """The contribution of one level to the distance, in float64: [B]."""
  features = np.asarray(features, np.float64)
  lengths = np.sqrt(np.sum(features**2, axis=-1, keepdims=True))
  x, y = np.moveaxis(features / (lengths + 1e-10), 1, 0)
  return np.mean((x - y) ** 2 @ np.asarray(weight, np.float64), axis=(1, 2))


def test_distances_are_the_official_ones():
  distances, _, _ = results()
  assert distances.dtype == jnp.float32
  assert_distances_close(distances, np.ravel(recorded('none')))


@pytest.mark.parametrize('level', range(5))
def test_features_are_the_official_ones(level):
  # Only the first image. Sums over the map need more than float32.
  features = np.asarray(results()[1][level][:, 0], np.float64)
  assert_close(np.mean(features, axis=(1, 2)), recorded(f'feat{level}_mean'))
  deviations = np.std(features, axis=(1, 2), ddof=1)
  assert_close(deviations, recorded(f'feat{level}_std'))


def test_levels_add_up_to_the_distance_and_are_the_official_ones():
  distances, features, _ = results()
  levels = [
      reference(x, params()[f'weight_{i}']) for i, x in enumerate(features)
  ]
  for level, added in enumerate(levels):
    assert_distances_close(added, np.ravel(recorded(f'layer{level}')))
  assert_distances_close(distances, np.sum(levels, axis=0))


def test_the_gradient_is_the_official_one():
  grad = np.asarray(results()[2])
  expected = official.images(recorded('grad_y'))
  scale = np.max(np.abs(expected))
  assert_close(grad / scale, expected / scale)


def test_an_image_is_at_no_distance_from_itself():
  x, _ = images()
  distances, _, grad = compare(params(), x, x)
  # The features of the two may differ in their last bit.
  np.testing.assert_allclose(distances, [0, 0], atol=1e-12)
  np.testing.assert_allclose(grad, np.zeros_like(x), atol=1e-9)


def test_the_distance_is_the_same_in_both_directions():
  x, y = images()
  np.testing.assert_allclose(
      compare(params(), y, x)[0], results()[0], rtol=1e-6
  )


def test_where_no_feature_is_active_there_is_no_distance_and_no_gradient():
  bias = jnp.full((64,), -1e3)
  dead = params() | {'conv_1': params()['conv_1'] | {'bias': bias}}
  distances, features, grad = compare(dead, *images())
  assert np.max(features[0]) == 0
  np.testing.assert_allclose(distances, [0, 0], atol=1e-12)
  np.testing.assert_allclose(grad, np.zeros_like(grad), atol=1e-9)


def test_bfloat16_is_close_and_compares_in_float32():
  distances, features, grad = compare(params(), *images(), dtype='bfloat16')
  expected, _, expected_grad = results()
  assert features[-1].dtype == jnp.bfloat16
  assert distances.dtype == jnp.float32
  np.testing.assert_allclose(distances, expected, rtol=0.02)
  cosine = np.vdot(grad, expected_grad)
  cosine /= np.linalg.norm(grad) * np.linalg.norm(expected_grad)
  assert cosine > 0.98


def test_images_stay_on_their_devices():
  mesh = partitioning.make_mesh(dict(data=2), devices=jax.devices()[:2])
  split = partitioning.batch_sharding(mesh)
  whole = partitioning.replicated(mesh)
  program = jax.jit(lpips.LPIPS().apply, out_shardings=split)
  arguments = (
      jax.device_put({'params': params()}, whole),
      *jax.device_put([x[:, :16, :16] for x in images()], split),
  )
  compiled = program.lower(*arguments).compile()
  moves = ('all-gather', 'all-to-all', 'collective-permute', 'all-reduce')
  assert not [move for move in moves if move in compiled.as_text()]
  alone = lpips.LPIPS().apply(
      {'params': params()}, *(x[:, :16, :16] for x in images())
  )
  np.testing.assert_allclose(compiled(*arguments), alone, rtol=1e-5)


@pytest.mark.parametrize('size', [(15, 16), (16, 15)])
def test_images_that_would_vanish_are_refused(size):
  x = jnp.zeros((1, *size, 3))
  message = 'too small for LPIPS.* at least 16x16 pixels'
  with pytest.raises(ValueError, match=message):
    lpips.LPIPS().apply({'params': params()}, x, x)
