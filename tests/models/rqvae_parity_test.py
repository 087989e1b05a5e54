"""The whole RQ-VAE against recordings of the official one.

Within 1e-5; float32 noise of the recordings is 2e-6 on features and 6e-6 on
pixels, so that pixels are allowed 2e-5.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import rqvae
from tests import official

MODEL = rqvae.RQVAE(
    image_size=32,
    channels=32,
    channel_multipliers=(1, 2, 1),
    res_blocks=1,
    attention_resolutions=(8,),
    z_channels=32,
    embed_dim=32,
    code_shape=(8, 8, 4),
    codebook_size=64,
)

assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)
assert_close_pixels = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=2e-5
)


@functools.cache
def recorded():
  return official.recording('rqvae_shared')


@functools.cache
def variables():
  return official.rqvae_variables(official.weights('rqvae_shared'), 4)


@functools.cache
def _run():
  """Reconstructs the recorded images; also what some blocks made of them."""

  @jax.jit
  def run(variables, images):
    return MODEL.apply(
        variables,
        images,
        capture_intermediates=lambda module, _: module.name
        in (
            'level_0_downsample',
            'mid_block_0',
            'mid_attention',
            'mid_block_1',
            'to_features',
        ),
    )

  return run(variables(), official.images(recorded()['x']))


@functools.cache
def _decode():
  """Decodes, compiled once for all tests."""
  return jax.jit(lambda z: MODEL.apply(variables(), z, method='decode'))


def test_the_official_weights_are_all_the_weights_there_are():
  ours = jax.eval_shape(
      MODEL.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))
  )
  shapes = functools.partial(jax.tree.map, jnp.shape)
  assert shapes(nn.unbox(ours)) == shapes(variables())


@pytest.mark.parametrize(
    ('ours', 'theirs'),
    [
        ('encoder/level_0_downsample', 'encoder.down.0.downsample'),
        ('encoder/mid_block_0', 'encoder.mid.block_1'),
        ('encoder/mid_attention', 'encoder.mid.attn_1'),
        ('encoder/mid_block_1', 'encoder.mid.block_2'),
        ('decoder/mid_attention', 'decoder.mid.attn_1'),
    ],
)
def test_a_block_makes_of_its_input_what_the_official_one_makes(ours, theirs):
  found = _run()[1]['intermediates']
  for name in ours.split('/'):
    found = found[name]
  expected = official.images(recorded()[f'act/{theirs}'])
  assert_close(found['__call__'][0][:1], expected)


def test_features_are_the_official_ones():
  actual = _run()[1]['intermediates']['to_features']['__call__'][0]
  assert_close(actual, recorded()['z_e'])


def test_reconstructions_are_the_official_ones():
  actual, _ = _run()
  np.testing.assert_array_equal(actual.quantized.codes, recorded()['codes'])
  assert_close(actual.quantized.features, recorded()['z_q'])
  assert_close(actual.quantized.commitment_loss, recorded()['commitment_loss'])
  assert_close_pixels(actual.images, official.images(recorded()['out']))


def test_codes_are_embedded_as_by_the_official_model():
  actual = MODEL.apply(variables(), recorded()['codes'], method='embed')
  assert_close(actual, recorded()['embed_code'])


def test_the_first_codes_of_every_stack_decode_to_the_official_images():
  # Recorded of random codes, to the depths 1 to 4.
  codes = recorded()['rand_codes'][:1]
  partial = [
      MODEL.apply(variables(), codes, depth=d + 1, method='embed')
      for d in range(4)
  ]
  for d in range(4):
    assert_close(partial[d], recorded()[f'embed_partial_add_{d}'])
  actual = _decode()(jnp.concatenate(partial))
  expected = [recorded()[f'decode_partial_add_{d}'] for d in range(4)]
  assert_close_pixels(actual, official.images(np.concatenate(expected)))


def test_codes_decode_to_the_official_images():
  decode = jax.jit(functools.partial(MODEL.apply, method='decode_codes'))
  assert_close_pixels(
      decode(variables(), recorded()['codes']),
      official.images(recorded()['decode_code']),
  )


def test_soft_codes_are_the_official_ones():
  codes, targets = MODEL.apply(
      variables(), recorded()['z_e'], temperature=0.5, method='soft_codes'
  )
  np.testing.assert_array_equal(codes, recorded()['soft_codes_t05_codes'])
  assert_close(targets[:1], recorded()['soft_codes_t05'])
