"""Official RQ-VAEs of images that are not square are converted, and exported.

The official code is size-agnostic, so the weights of a recorded square model
serve here, too. A NumPy version of the official network, which gives what was
recorded for square images, gives the expected values for other images.
"""

import functools

import numpy as np
import pytest
import yaml

from rq_jax.conversion.configs import reader
from rq_jax.jobs.convert import from_official
from rq_jax.jobs.convert import to_official
from rq_jax.tokenizer import Tokenizer
from tests import official
from tests.conversion import checkpoints
from tests.conversion import official_rqvae

NAME = 'rqvae_shared'
# The official `resolution` and `attn_resolutions` of a model whose third level
# has attention: for the sides of the images, and for another number.
ATTENTION = ((16, [4]), (24, [6]), (32, [8]))

assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)


def _raw(latent=(4, 6), resolution=32, attending=(8,)):
  """The config of a model with feature maps of another shape."""
  config = checkpoints.raw(NAME)
  config['arch']['hparams'] |= dict(
      latent_shape=[*latent, 32], code_shape=[*latent, 4]
  )
  config['arch']['ddconfig'] |= dict(
      resolution=resolution, attn_resolutions=list(attending)
  )
  return config


def _model(raw):
  return reader.read(raw, 'config.yaml').config.model


@functools.cache
def _official():
  return official_rqvae.OfficialRQVAE(official.weights(NAME, whole=True))


@pytest.mark.parametrize(('resolution', 'attending'), ATTENTION)
def test_images_have_the_shape_of_the_features_and_levels_keep_attention(
    resolution, attending
):
  model = _model(_raw((4, 6), resolution, attending))
  assert model.image_size == (16, 24)  # Three levels: the features times four.
  assert model.code_shape == (4, 6, 4)
  # The third level has maps of 4x6; its shorter side names it.
  assert model.attention_resolutions == (4,)
  assert _model(_raw((6, 4), resolution, attending)).image_size == (24, 16)


def test_levels_without_attention_have_none_after_conversion():
  assert _model(_raw((4, 6), 32, [])).attention_resolutions == ()
  # Level 0 has the whole resolution; no level has 64.
  assert _model(_raw((4, 6), 32, [32, 64])).attention_resolutions == (16,)


@pytest.mark.parametrize(
    ('latent_shape', 'resolution'),
    [
        ([4, 4, 32], 32),  # Square, but of another size.
        ([4, 6, 16], 32),  # Other channels.
        ([4, 6, 32], 34),  # The official levels would be 34, 17, 8 and back.
        ([4, 6], 32),
        ('4x6x32', 32),
        (24, 32),
    ],
)
def test_features_of_a_shape_that_contradicts_the_levels_are_refused(
    latent_shape, resolution
):
  raw = _raw(resolution=resolution)
  raw['arch']['hparams']['latent_shape'] = latent_shape
  with pytest.raises(ValueError, match=r'latent_shape=.* contradicts arch'):
    reader.read(raw, 'config.yaml')


@pytest.mark.slow
def test_the_numpy_version_gives_what_was_recorded_of_the_official_code():
  recorded = official.recording(NAME)
  features = _official().features(recorded['x'])
  assert_close(official.images(features), recorded['z_e'])
  np.testing.assert_array_equal(
      _official().codes(features, 4), recorded['codes']
  )
  assert_close(
      _official().images(recorded['rand_codes'][:1]),
      recorded['decode_partial_add_3'],
  )


@pytest.mark.slow
@pytest.mark.parametrize('latent', [(4, 6), (6, 4)])
def test_a_converted_model_computes_what_the_official_network_computes(
    latent, tmp_path
):
  state = official.weights(NAME, whole=True)
  checkpoints.write(tmp_path / 'src', _raw(latent), state)
  from_official.from_official(str(tmp_path / 'src'), str(tmp_path / 'dst'))
  tokenizer = Tokenizer.restore(str(tmp_path / 'dst'), verbose=False)
  height, width = latent
  rng = np.random.default_rng(0)
  images = rng.uniform(-1, 1, (2, 3, 4 * height, 4 * width)).astype('f4')
  features = _official().features(images)
  codes = _official().codes(features, 4)
  assert codes.shape == (2, height, width, 4)
  ours = official.images(images)
  assert_close(tokenizer.features(ours), official.images(features))
  np.testing.assert_array_equal(tokenizer.encode(ours), codes)
  made = tokenizer.model.apply(
      tokenizer.variables, codes, method='decode_codes'
  )
  assert_close(made, official.images(_official().images(codes)))


@pytest.mark.slow
def test_an_exported_model_is_the_same_when_it_is_converted_again(tmp_path):
  state = official.weights(NAME, whole=True)
  checkpoints.write(tmp_path / 'src', _raw(), state)
  from_official.from_official(str(tmp_path / 'src'), str(tmp_path / 'dst'))
  to_official.to_official(str(tmp_path / 'dst'), str(tmp_path / 'back'))
  file = tmp_path / 'back' / 'stage1' / 'config.yaml'
  written = yaml.safe_load(file.read_text())
  arch = written['arch']
  assert arch['hparams']['latent_shape'] == [4, 6, 32]
  # The official code compares `resolution` >> level with these numbers.
  assert (
      arch['ddconfig']['resolution'] >> 2
      in arch['ddconfig']['attn_resolutions']
  )
  assert _model(written) == _model(_raw())
