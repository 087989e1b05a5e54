"""The whole RQ-VAE against recordings of the official one, within 1e-5.

Only one of the recorded variants is in the repository; the others run where
`RQ_JAX_FIXTURES` names a folder that holds them. They are converted by the
same tables as released checkpoints.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import build
from rq_jax.models import codebook
from rq_jax.models import losses
from tests import official

assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)


@functools.cache
def _model(name):
  return build.rqvae(official.config(name).model)


def _apply(name, method, *args, **options):
  fn = functools.partial(_model(name).apply, method=method, **options)
  return jax.jit(fn)(official.variables(name), *args)


@functools.cache
def _run(name):
  """Reconstructs the recorded images; also returns outputs of some blocks."""

  @jax.jit
  def run(variables, images):
    return _model(name).apply(
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

  images = official.images(official.recording(name)['x'])
  return run(official.variables(name), images)


@functools.cache
def _words(name, codes):
  """Codewords of recorded codes, [B, h, w, D, C'], and the bound quantizer."""
  model = _model(name).bind(official.variables(name))
  return model.quantizer.embed(official.recording(name)[codes])


def _unfold(name, words):
  return _model(name).bind(official.variables(name)).quantizer.unfold(words)


@functools.cache
def _residuals(name, codes):
  """The residual that every depth quantizes, [B, h, w, D, C']."""
  recorded = official.recording(name)
  model = _model(name).bind(official.variables(name))
  words = _words(name, codes)
  folded = model.quantizer.fold(jnp.asarray(recorded['z_e'])[: len(words)])
  return folded[..., None, :] - jnp.cumsum(words, axis=-2) + words


def _distances(name, residuals, d):
  books = _apply(name, 'codebooks')
  words = books[0] if len(books) == 1 else books[d]
  return codebook.squared_distances(residuals[..., d, :], words)


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
  found = _run('rqvae_shared')[1]['intermediates']
  for name in ours.split('/'):
    found = found[name]
  recorded = official.recording('rqvae_shared')[f'act/{theirs}']
  assert_close(found['__call__'][0][:1], official.images(recorded))


@pytest.mark.parametrize('name', official.RQVAES)
def test_features_and_reconstructions_are_the_official_ones(name):
  recorded = official.recording(name)
  actual, blocks = _run(name)
  features = blocks['intermediates']['to_features']['__call__'][0]
  assert_close(features, recorded['z_e'])
  np.testing.assert_array_equal(actual.quantized.codes, recorded['codes'])
  assert_close(actual.quantized.features, recorded['z_q'])
  assert_close(actual.quantized.commitment_loss, recorded['commitment_loss'])
  assert_close(actual.images, official.images(recorded['out']))


@pytest.mark.parametrize('name', official.RQVAES)
def test_losses_are_the_official_ones(name):
  recorded = official.recording(name)
  images = official.images(recorded['x'])
  actual = _run(name)[0]
  latent = actual.quantized.commitment_loss
  for kind in ('mse', 'l1'):
    recon = losses.reconstruction(images, actual.images, kind)
    assert_close(recon, recorded[f'loss_{kind}_recon'])
    assert_close(latent, recorded[f'loss_{kind}_latent'])
    assert_close(recon + 0.25 * latent, recorded[f'loss_{kind}_total'])
    # In validation, the official loss is a sum over images and channels. Ours
    # is a mean, so the sum is divided before comparing.
    b, channels = len(images), images.shape[-1]
    valid = recorded[f'loss_{kind}_valid_recon'] / (b * channels)
    assert_close(recon, valid)
    assert_close(latent, recorded[f'loss_{kind}_valid_latent'] / b)


@pytest.mark.parametrize('name', official.RQVAES)
def test_partial_sums_and_distances_are_the_official_ones(name):
  recorded = official.recording(name)
  sums = jnp.cumsum(_words(name, 'codes'), axis=-2)
  residuals = _residuals(name, 'codes')
  for d in range(sums.shape[-2]):
    expected = recorded[f'distances_{d}']
    actual = _distances(name, residuals, d)[: len(expected)]
    # Large squares cancel in these distances: their noise in float32 is large.
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-4)
  for d in range(sums.shape[-2]):
    assert_close(sums[..., d, :], recorded[f'quant_list_{d}'])


@pytest.mark.parametrize('name', official.RQVAES)
@pytest.mark.parametrize('codes', ['codes', 'rand_codes'])
def test_codes_are_embedded_and_decoded_as_by_the_official_model(name, codes):
  recorded = official.recording(name)
  prefix = codes.removesuffix('codes')
  actual = _apply(name, 'embed', recorded[codes])
  assert_close(actual, recorded[f'{prefix}embed_code'])
  pixels = _apply(name, 'decode_codes', recorded[codes])
  expected = official.images(recorded[f'{prefix}decode_code'])
  assert_close(pixels, expected)
  expected = recorded[f'{prefix}emb_with_depth']
  assert_close(_words(name, codes)[: len(expected)], expected)


@pytest.mark.parametrize('name', official.RQVAES)
def test_parts_of_every_stack_decode_to_the_official_images(name):
  # The first codes of each stack ('add'), or only one of them ('select').
  recorded = official.recording(name)
  words = _words(name, 'rand_codes')[:1]
  for kind, parts in {
      'add': jnp.cumsum(words, axis=-2),
      'select': words,
  }.items():
    embedded = [_unfold(name, parts[..., d, :]) for d in range(words.shape[-2])]
    for d, actual in enumerate(embedded):
      assert_close(actual, recorded[f'embed_partial_{kind}_{d}'])
    pixels = _apply(name, 'decode', jnp.concatenate(embedded))
    for d, actual in enumerate(pixels):
      expected = official.images(recorded[f'decode_partial_{kind}_{d}'])
      assert_close(actual[None], expected)
  for d in range(words.shape[-2]):
    codes = recorded['rand_codes'][:1]
    actual = _apply(name, 'embed', codes, depth=d + 1)
    assert_close(actual, recorded[f'embed_partial_add_{d}'])


@pytest.mark.parametrize('name', official.RQVAES)
@pytest.mark.parametrize(('label', 'temperature'), [('t05', 0.5), ('t1', 1.0)])
def test_soft_codes_are_the_official_ones(name, label, temperature):
  recorded = official.recording(name)
  if f'soft_codes_{label}' not in recorded:
    pytest.skip('the official method fails for codebooks of several sizes')
  quantizer = _model(name).bind(official.variables(name)).quantizer
  codes, residuals = quantizer.soft_codes(
      quantizer.fold(jnp.asarray(recorded['z_e'])), temperature=temperature
  )
  np.testing.assert_array_equal(codes, recorded['codes'])
  logits = quantizer.target_logits(residuals, temperature=temperature)
  expected = recorded[f'soft_codes_{label}']
  assert_close(jax.nn.softmax(logits)[: len(expected)], expected)


@pytest.mark.parametrize('name', official.RQVAES)
def test_soft_targets_of_drawn_codes_are_the_official_ones(name):
  recorded = official.recording(name)
  if 'stoch_codes_t05' not in recorded:
    pytest.skip('the official method fails for codebooks of several sizes')
  # Every depth quantizes the residual of the codes drawn before it.
  residuals = _residuals(name, 'stoch_codes_t05')
  for d in range(residuals.shape[-2]):
    actual = jax.nn.softmax(-_distances(name, residuals, d) / 0.5)
    assert_close(actual, recorded['stoch_soft_codes_t05'][..., d, :])
