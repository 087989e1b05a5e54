"""The rules for training: a broken rule is reported with a remedy."""

import pytest

from rq_jax import config
from tests.config import experiments
from tests.config import model_rules

# Arguments of `experiments.assert_refused`.
_RULES = [
    (
        1,
        dict(optimizer__min_lr=0.2, optimizer__peak_lr=0.1),
        ['min_lr=0.2', 'must not exceed config.optimizer.peak_lr=0.1'],
        ['optimizer.min_lr', 'optimizer.peak_lr'],
        dict(optimizer__min_lr=0.1, optimizer__peak_lr=0.1),
    ),
    (
        1,
        dict(train__steps=5, train__epochs=2),
        ['steps=5', 'epochs=2.0', 'exactly one must be set'],
        ['train.steps', 'train.epochs'],
        dict(train__steps=None, train__epochs=2),
    ),
    (
        1,
        dict(train__steps=None),
        ['steps=None', 'epochs=None', 'exactly one must be set'],
        ['train.steps', 'train.epochs'],
        dict(train__steps=5),
    ),
    (
        2,
        dict(data__batch_size=64, train__accumulate=3),
        ['accumulate=3', 'must divide config.data.batch_size=64'],
        ['train.accumulate', 'data.batch_size'],
        dict(data__batch_size=63, train__accumulate=3),
    ),
    (
        1,
        dict(train__accumulate=2, model__codebook_update='depth'),
        ['accumulate=2', "codebook_update='depth'", 'is not possible'],
        ["model.codebook_update to 'step'", 'train.accumulate to 1'],
        dict(train__accumulate=1, model__codebook_update='depth'),
    ),
    (
        1,
        dict(data__image_size=128),
        ['data.image_size=128', 'must equal config.model.image_size=256'],
        ['data.image_size'],
        dict(data__image_size=128, model__image_size=128,
             model__code_shape=(4, 4, 4)),
    ),
    (
        1,
        dict(loss__perceptual_weight=0.5),
        ['perceptual_weight=0.5', 'needs config.loss.perceptual_path',
         'python -m rq_jax convert --from=lpips --src=vgg16.pth'
         ' --heads=vgg.pth --dst=checkpoints/lpips'],
        ['loss.perceptual_path', 'loss.perceptual_weight to 0'],
        dict(loss__perceptual_weight=0.5,
             loss__perceptual_path='checkpoints/lpips'),
    ),
    *(
        (
            1,
            dict(**experiments.sized(8), **loss, loss__perceptual_weight=0.5),
            ['image_size=8', 'perceptual_weight=0.5', 'must be at least 16'],
            ['model.image_size', 'loss.perceptual_weight to 0'],
            dict(**experiments.sized(size), **loss,
                 loss__perceptual_weight=weight),
        )
        for loss in [dict(loss__perceptual_path='checkpoints/lpips')]
        for size, weight in ((16, 0.5), (8, 0.0))
    ),
    (
        2,
        dict(loss__label_dropout=0.1, model__num_classes=10),
        ['label_dropout=0.1', 'needs a null class'],
        ['model.null_class to True'],
        dict(loss__label_dropout=0.1, model__num_classes=10,
             model__null_class=True),
    ),
    *(
        (
            1,
            dict(model__code_shape=shape),
            [f'code_shape={shape}', 'must begin with 8, 8', '6 levels make a'
             ' feature map of 8x8 positions from 256x256 pixels'],
            ['model.code_shape', 'model.image_size',
             'model.channel_multipliers'],
            dict(model__code_shape=(8, 8, 4)),
        )
        for shape in ((4, 4, 4), (8, 4, 4), (4, 8, 4))
    ),
    (
        1,
        dict(model__attention_resolutions=(8, 20)),
        ['attention_resolutions=(8, 20)', 'contains 20, but no level has',
         '256, 128, 64, 32, 16, 8'],
        ['model.attention_resolutions'],
        dict(model__attention_resolutions=(8, 256)),
    ),
    *(
        (
            1,
            dict(**experiments.sized(size), loss__adversarial_weight=0.5,
                 discriminator__layers=most + 1),
            [f'discriminator.layers={most + 1}', f'image_size={size}',
             f'must not exceed {most}, because more layers would leave noth'],
            ['discriminator.layers'],
            dict(**experiments.sized(size), loss__adversarial_weight=weight,
                 discriminator__layers=layers),
        )
        for size, most in ((16, 2), (24, 3), (256, 6))
        for layers, weight in ((most, 0.5), (most + 1, 0.0))
    ),
    (
        1,
        dict(data__source='features', data__path='cache'),
        ["source='features'", 'has no images', "'digits' or 'image_folder'"],
        ['data.source'],
        dict(data__source='image_folder', data__path='images'),
    ),
    (
        2,
        dict(model__text_vocab_size=5, model__text_length=3),
        ['text_vocab_size=5', "source='digits'", 'data without texts'],
        ['data.source', 'model.text_vocab_size', 'model.text_length to 0'],
        dict(),
    ),
    (
        2,
        dict(loss__condition_weight=0.5),
        ['condition_weight=0.5', 'not conditioned on texts'],
        ['loss.condition_weight to 0'],
        dict(loss__condition_weight=0.0),
    ),
    *(
        (
            stage,
            {f'{section}__dtype': 'float16'},
            [f"{section}.dtype='float16'", 'losses are not scaled'],
            [f'{section}.dtype to '],
            {f'{section}__dtype': 'bfloat16'},
        )
        for stage, section in ((1, 'model'), (1, 'discriminator'), (2, 'model'))
    ),
    *(
        (
            2,
            {f'mesh__{axis}': 0},
            [f'mesh.{axis}=0', 'must be positive, or -1'],
            [f'mesh.{axis}'],
            {f'mesh__{axis}': 2},
        )
        for axis in ('data', 'fsdp', 'model')
    ),
    *(
        (
            stage,
            fields,
            [f'{name}=', 'must be less than 2**31'],
            ['data.batch_size', 'model.code_shape', 'model.codebook_size'],
            dict(data__batch_size=2**22 - 1, model__codebook_size=2**30),
        )
        for stage in (1, 2)
        for name, fields in (
            ('batch_size', dict(data__batch_size=2**31 - 1)),
            ('codebook_size', dict(model__codebook_size=2**31 - 1)),
        )
    ),
    (
        1,
        dict(mesh__model=-1),
        ['mesh.data=-1 and config.mesh.model=-1', 'only one axis can'],
        ['mesh.data', 'mesh.model'],
        dict(mesh__model=-1, mesh__data=1),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ('stage', 'wrong', 'words', 'flags', 'right'),
    [*_RULES, *model_rules.RULES],
    ids=experiments.id_of,
)
def test_a_rule_refuses_what_breaks_it_and_nothing_else(
    stage, wrong, words, flags, right
):
  experiments.assert_refused(stage, wrong, words, flags, right)


@pytest.mark.parametrize(
    ('fields', 'flags'),
    [
        (dict(tokenizer=None), '--config.tokenizer'),
        (dict(data__source='features'), '--config.data.path'),
        (dict(data__source='image_folder'), '--config.data.path'),
        (
            dict(data__source='features', tokenizer=None),
            '--config.tokenizer and --config.data.path',
        ),
    ],
)
def test_paths_that_only_the_user_can_know_are_asked_for(fields, flags):
  message = experiments.refused(2, **fields)
  assert message.endswith(f'paths that only you can know. Set {flags}.')
  paths = dict(data__path='cache', tokenizer='runs/rqvae')
  experiments.check(2, **fields | paths)


def test_the_published_sizes_break_no_rule():
  experiments.check(
      2,
      model__spatial_layers=42,
      model__depth_layers=6,
      model__num_classes=1000,
      model__null_class=True,
  )
  experiments.check(
      1,
      loss__adversarial_weight=0.75,
      loss__perceptual_weight=1.0,
      loss__perceptual_path='checkpoints/lpips',
  )


@pytest.mark.parametrize('seed', [-1, 2**32, 2**40, 2**70, 1.5])
def test_a_seed_of_more_than_32_bits_is_refused(seed):
  with pytest.raises(ValueError) as error:
    config.check_seed(seed)
  assert str(error.value) == (
      f'seed={seed} must be a whole number in [0, 2**32), because random keys'
      ' are made from 32 bits. Change --seed.'
  )


@pytest.mark.parametrize('seed', [0, 2**31, 2**32 - 1])
def test_any_seed_of_32_bits_is_taken(seed):
  config.check_seed(seed)
  assert experiments.check(1, seed=seed).seed == seed


def test_a_plan_needs_neither_data_nor_weights():
  for stage, section, fields in (
      (1, 'loss', dict(perceptual_weight=1.0)),
      (1, 'data', dict(source='image_folder')),
      (2, 'model', dict(text_vocab_size=5, text_length=3)),
  ):
    raw = dict(stage=stage, train=dict(steps=1)) | {section: fields}
    config.check(raw, with_data=False)
    with pytest.raises(ValueError, match='needs|only you can know|texts'):
      config.check(raw)
    with pytest.raises(ValueError, match='exactly one must be set'):
      config.check(raw | {'train': {}}, with_data=False)


def test_a_plan_of_stage_1_needs_a_source_with_images():
  raw = dict(stage=1, train=dict(steps=1), data=dict(source='features'))
  with pytest.raises(ValueError, match='has no images'):
    config.check(raw, with_data=False)


def test_what_can_be_built_need_not_be_trainable():
  folded = config.parse(dict(stage=1, model=dict(code_shape=(4, 4, 4))))
  assert folded.model.code_shape == (4, 4, 4)
  config.parse(dict(stage=2, model=dict(dtype='float16')))
  config.parse(dict(stage=1, train=dict(steps=1, epochs=1)))
