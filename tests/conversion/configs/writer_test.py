"""What is written of an experiment is read as the same model."""

import pytest
import yaml

from rq_jax import config as config_lib
from rq_jax.conversion import mapping
from rq_jax.conversion import official_model
from rq_jax.conversion.configs import reader
from rq_jax.conversion.configs import writer
from tests import official
from tests import tiny

RECORDED = (
    'rqvae_shared',
    'rqtransformer_text',
    'rqtransformer_unshared',
    'rqtransformer_unshared_vocabs',
    'rqtransformer_d1',
)
PUBLISHED = (
    'configs/ffhq256/rqvae.py',
    'configs/imagenet256/rqvae.py',
    'configs/studies/rqvae.py:8x8x16',
    'configs/benchmark/rqvae.py:f8-d2-k2048',
    'configs/ffhq256/rqtransformer.py',
    'configs/imagenet256/rqtransformer.py:3.8b',
    'configs/text256/rqtransformer.py:32',
)


def _again(config, **options):
  """What is read of what is written, as text."""
  text = yaml.safe_dump(writer.write(config, **options))
  return reader.read(yaml.safe_load(text), 'config.yaml')


@pytest.mark.parametrize('name', RECORDED)
def test_an_official_model_is_described_as_it_was(name):
  config = official.config(name)
  description = _again(config)
  assert description.config.model == config.model
  assert description.unknown == ()


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_models_have_the_same_arrays(name):
  config = config_lib.load(name, with_data=False)
  same = _again(config).config
  shapes, expected = (
      mapping.shapes(official_model.model_table(c.model)[0])
      for c in (same, config)
  )
  assert shapes == expected
  # Shapes do not tell heads and activations.
  for field in ('heads', 'gelu', 'code_shape', 'attention_resolutions'):
    found, given = (getattr(c.model, field, None) for c in (same, config))
    assert found == given


def test_a_null_class_is_one_more_class():
  config = tiny.stage2_config()
  assert config.model.null_class and config.model.num_classes == 10
  model = _again(config).config.model
  assert (model.null_class, model.num_classes) == (False, 11)


@pytest.mark.parametrize('norm', ['batch', 'act'])
def test_a_discriminator_is_described_where_it_is_written(norm):
  config = official.config('rqvae_shared')
  config = tiny.changed(config, discriminator=dict(norm=norm))
  assert not _again(config).discriminator
  description = _again(config, discriminator=True)
  assert description.discriminator
  assert description.config.discriminator == config.discriminator


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (tiny.stage1_config(), 'in 32 groups, not model.norm_groups=4'),
        (
            tiny.stage1_config(
                model=dict(channels=32, norm_groups=32, res_blocks=(1, 2))
            ),
            r'as many residual blocks in every level, not \(1, 2\)',
        ),
        (
            tiny.stage2_config(
                model=dict(num_classes=0, text_length=4, text_vocab_size=9)
            ),
            'no null class beside a text',
        ),
    ],
)
def test_what_the_official_code_cannot_build_is_refused(config, message):
  with pytest.raises(ValueError, match=message):
    writer.write(config)
