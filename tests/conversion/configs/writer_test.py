"""A written config is read as the same model, or its obstacles are listed."""

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
  """Writes a config as text and reads it again."""
  text = yaml.safe_dump(writer.write(config, **options))
  return reader.read(yaml.safe_load(text), 'config.yaml')


@pytest.mark.parametrize('name', RECORDED)
def test_an_official_model_is_described_as_it_was(name):
  config = official.config(name)
  description = _again(config)
  assert description.config.model == config.model
  assert description.unknown == ()


@pytest.mark.slow
@pytest.mark.parametrize('name', PUBLISHED)
def test_published_models_have_the_same_arrays(name):
  config = config_lib.load(name, with_data=False)
  same = _again(config).config
  shapes, expected = (
      mapping.shapes(official_model.model_table(c.model)[0])
      for c in (same, config)
  )
  assert shapes == expected
  # Heads and activations do not follow from shapes.
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


GROUPS = (
    'The RQ-VAE has config.model.norm_groups=4, but the official code has 32'
    ' groups in every GroupNorm.'
)
BLOCKS = (
    'The RQ-VAE has config.model.res_blocks=(1, 2), but the official code has'
    ' the same number of residual blocks in every level.'
)
TEXTS = (
    'The RQ-Transformer has config.model.null_class=True and'
    ' config.model.text_length=4, but the official code has no null class in'
    ' text models.'
)


def _stage1(**model):
  return tiny.stage1_config(model=dict(channels=32) | model)


def _texts():
  model = dict(num_classes=0, text_length=4, text_vocab_size=9)
  return tiny.stage2_config(model=model)


@pytest.mark.parametrize(
    ('config', 'obstacles'),
    [
        (_stage1(norm_groups=32, res_blocks=(2, 2)), ()),
        (_stage1(norm_groups=4), (GROUPS,)),
        (_stage1(norm_groups=32, res_blocks=(1, 2)), (BLOCKS,)),
        (_stage1(norm_groups=4, res_blocks=(1, 2)), (GROUPS, BLOCKS)),
        (tiny.stage2_config(), ()),
        (_texts(), (TEXTS,)),
    ],
)
def test_all_obstacles_of_a_model_are_listed(config, obstacles):
  assert writer.obstacles(config.model) == obstacles
  if obstacles:
    with pytest.raises(ValueError) as caught:
      writer.write(config)
    assert str(caught.value) == _refusal(*obstacles)
  else:
    assert writer.write(config)


def _refusal(*obstacles):
  return (
      f'--to=official cannot export this model. {" ".join(obstacles)} Use'
      ' --to=safetensors, which exports any model.'
  )


def test_one_error_lists_the_obstacles_of_several_models():
  stage1 = _stage1(norm_groups=4, res_blocks=(1, 2))
  with pytest.raises(ValueError) as caught:
    writer.check(stage1.model, tiny.stage2_config().model, _texts().model)
  assert str(caught.value) == _refusal(GROUPS, BLOCKS, TEXTS)
  writer.check(tiny.stage2_config().model)
