"""Official configs are read as the official code reads them, or refused."""

import copy

import pytest
import yaml

from rq_jax.conversion.configs import reader
from tests import official


def _raw(name):
  return yaml.safe_load((official.FIXTURES / name / 'config.yaml').read_text())


def _changed(raw, path, value):
  """A copy with another value at a dotted path; None removes the field."""
  raw = copy.deepcopy(raw)
  section = raw
  *parents, last = path.split('.')
  for name in parents:
    section = section[name]
  if value is None:
    del section[last]
  else:
    section[last] = value
  return raw


def _read(name, **changes):
  raw = _raw(name)
  for path, value in changes.items():
    raw = _changed(raw, path.replace('__', '.'), value)
  return reader.read(raw, 'config.yaml')


def _fields(model, *names):
  return tuple(getattr(model, name) for name in names)


def test_an_rqvae_is_read():
  description = _read('rqvae_shared')
  model = description.config.model
  assert description.config.stage == 1
  assert _fields(model, 'image_size', 'channels', 'channel_multipliers') == (
      32,
      32,
      (1, 2, 1),
  )
  assert _fields(model, 'res_blocks', 'attention_resolutions') == (1, (8,))
  assert _fields(model, 'z_channels', 'embed_dim', 'norm_groups') == (
      32,
      32,
      32,
  )
  assert _fields(model, 'code_shape', 'codebook_size') == ((8, 8, 4), 64)
  assert _fields(model, 'shared_codebook', 'decay') == (True, 0.99)
  assert _fields(model, 'codebook_update', 'restart', 'restart_threshold') == (
      'depth',
      'absolute',
      1.0,
  )
  assert description.unknown == ()


def test_a_discriminator_is_read_where_there_was_one():
  description = _read('rqvae_shared')
  assert description.discriminator
  disc = description.config.discriminator
  assert _fields(disc, 'channels', 'layers', 'norm') == (16, 2, 'batch')
  act = _read('rqvae_shared', gan__disc__arch__use_actnorm=True)
  assert act.config.discriminator.norm == 'act'
  assert not _read('rqvae_shared', gan=None).discriminator


def test_defaults_of_an_rqvae_are_the_official_ones():
  description = _read(
      'rqvae_shared',
      arch__hparams__shared_codebook=None,
      arch__hparams__restart_unused_codes=False,
      arch__hparams__latent_shape=None,
      arch__ddconfig__dropout=None,
  )
  model = description.config.model
  assert _fields(model, 'shared_codebook', 'restart', 'dropout') == (
      False,
      'off',
      0.0,
  )


def test_lists_that_repeat_one_number_fit_a_shared_codebook():
  model = _read('rqvae_shared', arch__hparams__n_embed=[64] * 4).config.model
  assert model.codebook_size == 64
  model = _read(
      'rqvae_shared',
      arch__hparams__n_embed=[64, 32, 16, 8],
      arch__hparams__shared_codebook=False,
  ).config.model
  assert model.codebook_size == (64, 32, 16, 8)


def test_a_model_of_classes_is_read():
  model = _read('rqtransformer_unshared').config.model
  assert _fields(model, 'code_shape', 'codebook_size') == ((4, 4, 4), 64)
  assert _fields(model, 'width', 'embed_dim', 'heads') == (64, 32, 4)
  assert _fields(model, 'spatial_layers', 'depth_layers') == (3, 2)
  assert _fields(
      model, 'num_classes', 'text_length', 'text_vocab_size', 'null_class'
  ) == (10, 0, 0, False)
  assert _fields(model, 'spatial_input', 'depth_input') == (
      'learned',
      'learned',
  )
  assert _fields(
      model, 'shared_embedding', 'shared_classifier', 'cumulative_depth_input'
  ) == (False, False, False)
  assert _fields(model, 'attention_bias', 'mlp_bias') == (False, True)
  assert _fields(model, 'gelu', 'depth_gelu') == ('sigmoid', None)
  # Defaults of the official blocks.
  assert _fields(
      model, 'dropout', 'attention_dropout', 'embedding_dropout'
  ) == (0.1, 0.0, 0.0)


def test_a_model_of_texts_is_read():
  model = _read('rqtransformer_text').config.model
  assert _fields(model, 'num_classes', 'text_length', 'text_vocab_size') == (
      0,
      6,
      50,
  )
  assert _fields(model, 'spatial_input', 'depth_input') == (
      'codebook',
      'codebook',
  )
  assert _fields(
      model, 'shared_embedding', 'shared_classifier', 'cumulative_depth_input'
  ) == (True, True, True)
  assert _fields(model, 'gelu', 'attention_bias') == ('exact', True)


def test_a_model_of_neither_is_read():
  for size in (1, None):
    model = _read(
        'rqtransformer_unshared', arch__vocab_size_cond=size
    ).config.model
    assert _fields(model, 'num_classes', 'text_length', 'text_vocab_size') == (
        0,
        0,
        0,
    )


def test_shipped_files_keep_the_size_of_the_codebook_elsewhere():
  model = _read('rqtransformer_unshared', arch__vocab_size=None).config.model
  assert model.codebook_size == 64  # It is under `dataset`.
  with pytest.raises(ValueError, match=r'no arch\.vocab_size'):
    _read(
        'rqtransformer_unshared',
        arch__vocab_size=None,
        dataset__vocab_size=None,
    )


def test_without_a_depth_stack_its_block_does_not_count():
  model = _read('rqtransformer_d1', arch__head__block__n_head=3).config.model
  assert _fields(model, 'heads', 'depth_layers', 'depth_gelu') == (4, 0, None)


def test_stacks_may_have_activations_of_their_own():
  model = _read(
      'rqtransformer_unshared', arch__head__block__gelu='v1'
  ).config.model
  assert _fields(model, 'gelu', 'depth_gelu') == ('sigmoid', 'exact')


def test_what_means_nothing_is_reported():
  description = _read('rqtransformer_text', arch__body__block__rope=True)
  assert description.unknown == ('body.block.rope',)
  description = _read(
      'rqvae_shared', arch__hparams__fsq=3, arch__checkpointing=1
  )
  assert description.unknown == ('hparams.fsq',)


@pytest.mark.parametrize(
    ('name', 'path', 'value', 'message'),
    [
        ('rqvae_shared', 'arch.type', 'vq-vae', "arch.type='vq-vae' must be"),
        ('rqvae_shared', 'arch', 3, 'arch.type=None must be'),
        ('rqvae_shared', 'arch.ddconfig.ch', None, r'no arch\.ddconfig\.ch'),
        (
            'rqvae_shared',
            'arch.hparams.bottleneck_type',
            'vq',
            r"bottleneck_type='vq', but rq_jax builds only 'rq'\.",
        ),
        ('rqvae_shared', 'arch.ddconfig.double_z', True, 'double_z=True'),
        ('rqvae_shared', 'arch.ddconfig.in_channels', 1, 'in_channels=1'),
        ('rqvae_shared', 'arch.ddconfig.out_ch', 1, 'out_ch=1'),
        (
            'rqvae_shared',
            'arch.hparams.latent_shape',
            [8, 8, 16],
            r'latent_shape=\[8, 8, 16\] contradicts .*\[8, 8, 32\]',
        ),
        (
            'rqvae_shared',
            'arch.hparams.n_embed',
            [64, 64, 64, 32],
            'differs by depth, but the codebook is shared',
        ),
        (
            'rqtransformer_text',
            'arch.head.block.n_head',
            8,
            r'body\.block\.n_head=4, but arch\.head\.block\.n_head=8',
        ),
        (
            'rqtransformer_text',
            'arch.head.block.resid_pdrop',
            0.3,
            r'resid_pdrop=0\.1, but arch\.head\.block\.resid_pdrop=0\.3',
        ),
        (
            'rqtransformer_text',
            'arch.body.block.gelu',
            'v3',
            r"gelu='v3', but rq_jax builds only 'v1' or 'v2'\.",
        ),
        ('rqtransformer_text', 'arch.body.n_layer', None, 'body.n_layer'),
        ('rqtransformer_text', 'arch.block_size', None, 'block_size'),
    ],
)
def test_what_cannot_be_built_is_refused(name, path, value, message):
  raw = _changed(_raw(name), path, value)
  with pytest.raises(ValueError, match=message):
    reader.read(raw, 'config.yaml')


@pytest.mark.parametrize(
    ('name', 'field', 'value', 'words'),
    [
        (
            'rqvae_shared',
            'hparams__n_embed',
            10**12,
            'must not exceed 21474836',
        ),
        ('rqvae_shared', 'ddconfig__ch', -1, 'channels=-1 must be positive'),
        ('rqvae_shared', 'hparams__code_shape', [3, 3, 4], 'must divide the'),
        ('rqtransformer_text', 'embed_dim', 33, 'must be a multiple of'),
    ],
)
def test_a_model_that_cannot_be_built_is_refused_by_its_file(
    name, field, value, words
):
  with pytest.raises(ValueError, match='cannot be built') as error:
    _read(name, **{f'arch__{field}': value})
  assert words in str(error.value)
  assert '--config' not in str(error.value)


def test_sampling_options_get_our_names():
  found = _read('rqtransformer_unshared').sampling
  assert found == {'temperature': 1.0, 'top_k': 64, 'top_p': 0.95}
  assert _read('rqvae_shared').sampling == {}


def test_nothing_is_invented_for_a_converted_model():
  config = _read('rqtransformer_text').config
  assert config.tokenizer is None
  assert (config.train.steps, config.train.epochs) == (None, None)
