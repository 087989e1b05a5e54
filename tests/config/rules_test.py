"""Rules between fields: what breaks one is told what was set and what to do."""

import pytest

from rq_jax import config

_RUNS = {
    1: dict(stage=1, train=dict(steps=1)),
    2: dict(stage=2, train=dict(steps=1), tokenizer='runs/rqvae'),
}


def _check(stage, **fields):
  """Checks an experiment with some fields set: data__path for data.path."""
  raw = {
      n: dict(v) if isinstance(v, dict) else v for n, v in _RUNS[stage].items()
  }
  for name, value in fields.items():
    section, _, field = name.partition('__')
    if field:
      raw.setdefault(section, {})[field] = value
    else:
      raw[section] = value
  return config.check(raw)


def _sized(size):
  """Fields of an experiment of stage 1 on images of any size."""
  return dict(
      data__image_size=size,
      model__image_size=size,
      model__channel_multipliers=(1,),
      model__code_shape=(size, size, 1),
      model__attention_resolutions=(),
  )


def _refused(stage, **fields):
  with pytest.raises(ValueError) as error:
    _check(stage, **fields)
  return str(error.value)


# Stage, the fields, words of the message (what was set, what is required), the
# flags it ends with, and other values of these fields that are right.
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
        1,
        dict(model__channel_multipliers=()),
        ['channel_multipliers=()', 'must have one number for each level'],
        ['model.channel_multipliers'],
        _sized(256),
    ),
    (
        1,
        dict(model__image_size=240, data__image_size=240),
        ['image_size=240', 'multiple of 32', '6 levels halve it 5 times'],
        ['model.image_size', 'model.channel_multipliers'],
        dict(
            model__image_size=96,
            data__image_size=96,
            model__code_shape=(3, 3, 1),
            model__attention_resolutions=(),
        ),
    ),
    (
        1,
        dict(model__res_blocks=(1, 2)),
        ['res_blocks=(1, 2)', 'one for each of the 6 levels'],
        ['model.res_blocks'],
        dict(model__res_blocks=(1, 2, 1, 2, 1, 2)),
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
        dict(model__code_shape=(8, 3, 4)),
        ['code_shape=(8, 3, 4)', 'divide the 8x8 feature map evenly'],
        ['model.code_shape', 'model.channel_multipliers'],
        dict(model__code_shape=(8, 8, 3)),
    ),
    (
        1,
        dict(model__code_shape=(16, 8, 4)),
        ['code_shape=(16, 8, 4)', 'divide the 8x8 feature map evenly'],
        ['model.code_shape', 'model.channel_multipliers'],
        dict(model__code_shape=(8, 8, 1)),
    ),
    *(
        (
            1,
            {f'model__{name}': several[:4]},
            [f'{name}={several[:4]}', 'shared_codebook=True', 'one number'],
            [f'model.{name}', 'model.shared_codebook'],
            {f'model__{name}': several[:4], 'model__shared_codebook': False},
        )
        for name, several in (
            ('codebook_size', (8, 8, 4, 4, 2)),
            ('decay', (0.9, 0.9, 0.8, 0.8, 0.7)),
        )
    ),
    *(
        (
            1,
            {f'model__{name}': several, 'model__shared_codebook': False},
            [f'{name}={several}', 'each of the 4 depths', '(8, 8, 4)'],
            [f'model.{name}'],
            {f'model__{name}': several[:4], 'model__shared_codebook': False},
        )
        for name, several in (
            ('codebook_size', (8, 8, 4, 4, 2)),
            ('decay', (0.9, 0.9, 0.8, 0.8, 0.7)),
        )
    ),
    (
        1,
        dict(model__channels=24),
        ['norm_groups=32', 'such as 24', 'the divisors of 24'],
        ['model.norm_groups'],
        dict(model__channels=24, model__norm_groups=8),
    ),
    (
        1,
        dict(model__channel_multipliers=(2, 3), model__channels=16,
             model__norm_groups=32),
        ['norm_groups=32', 'such as 48', 'the divisors of 16'],
        ['model.norm_groups'],
        dict(model__channel_multipliers=(2, 4), model__channels=16,
             model__norm_groups=32, model__code_shape=(128, 128, 1),
             model__attention_resolutions=()),
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
            dict(**_sized(8), **loss, loss__perceptual_weight=0.5),
            ['image_size=8', 'perceptual_weight=0.5', 'must be at least 16'],
            ['model.image_size', 'loss.perceptual_weight to 0'],
            dict(**_sized(size), **loss, loss__perceptual_weight=weight),
        )
        for loss in [dict(loss__perceptual_path='checkpoints/lpips')]
        for size, weight in ((16, 0.5), (8, 0.0))
    ),
    (
        2,
        dict(model__width=100),
        ['width=100', 'must be a multiple of config.model.heads=24'],
        ['model.width', 'model.heads'],
        dict(model__width=120),
    ),
    (
        2,
        dict(model__depth_layers=0),
        ['depth_layers=0', 'must be positive, as a stack has several codes'],
        ['model.depth_layers'],
        dict(model__depth_layers=0, model__code_shape=(8, 8, 1)),
    ),
    (
        2,
        dict(model__num_classes=10, model__text_vocab_size=5,
             model__text_length=3),
        ['num_classes=10', 'text_vocab_size=5', 'labels or texts, not both'],
        ['model.num_classes', 'model.text_vocab_size to 0'],
        dict(model__num_classes=10),
    ),
    (
        2,
        dict(model__text_vocab_size=5),
        ['text_vocab_size=5', 'text_length=0', 'must both be set'],
        ['model.text_vocab_size', 'model.text_length'],
        dict(model__num_classes=10),
    ),
    (
        2,
        dict(model__text_length=3),
        ['text_vocab_size=0', 'text_length=3', 'must both be set'],
        ['model.text_vocab_size', 'model.text_length'],
        dict(),
    ),
    (
        2,
        dict(loss__label_dropout=0.1, model__num_classes=10),
        ['label_dropout=0.1', 'needs a null class'],
        ['model.null_class to True'],
        dict(loss__label_dropout=0.1, model__num_classes=10,
             model__null_class=True),
    ),
    (
        2,
        dict(model__null_class=True),
        ['null_class=True', 'needs a condition'],
        ['model.null_class to False'],
        dict(model__null_class=True, model__num_classes=5),
    ),
    (
        2,
        dict(model__codebook_size=(8, 4), model__shared_embedding=False,
             model__shared_classifier=False),
        ['codebook_size=(8, 4)', 'one number for each depth', '(8, 8, 4)'],
        ['model.codebook_size'],
        dict(model__codebook_size=(8, 4, 2, 2), model__shared_embedding=False,
             model__shared_classifier=False),
    ),
    *(
        (
            2,
            {'model__codebook_size': (8, 8, 4, 4), f'model__{own}': False},
            ['codebook_size=(8, 8, 4, 4)', 'classifiers of its own for each'],
            ['model.shared_embedding', 'model.shared_classifier to False'],
            dict(model__codebook_size=8),
        )
        for own in ('shared_embedding', 'shared_classifier')
    ),
    *(
        (
            1,
            dict(model__code_shape=shape),
            [f'code_shape={shape}', 'must begin with 8, 8', '6 levels make a'
             ' 8x8 feature map of 256 pixels'],
            ['model.code_shape', 'model.image_size',
             'model.channel_multipliers'],
            dict(model__code_shape=(8, 8, 4)),
        )
        for shape in ((4, 4, 4), (8, 4, 4), (4, 8, 4))
    ),
    (
        1,
        dict(model__attention_resolutions=(8, 20)),
        ['attention_resolutions=(8, 20)', 'has 20, which no level has',
         '256, 128, 64, 32, 16, 8'],
        ['model.attention_resolutions'],
        dict(model__attention_resolutions=(8, 256)),
    ),
    *(
        (
            1,
            dict(**_sized(size), loss__adversarial_weight=0.5,
                 discriminator__layers=most + 1),
            [f'discriminator.layers={most + 1}', f'image_size={size}',
             f'must not exceed {most}: nothing would be left'],
            ['discriminator.layers'],
            dict(**_sized(size), loss__adversarial_weight=weight,
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
        ['mesh.data=-1 and config.mesh.model=-1', 'cannot both'],
        ['mesh.data', 'mesh.model'],
        dict(mesh__model=-1, mesh__data=1),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ('stage', 'wrong', 'words', 'flags', 'right'),
    _RULES,
    ids=lambda value: ' '.join(value) if isinstance(value, dict) else '',
)
def test_a_rule_refuses_what_breaks_it_and_nothing_else(
    stage, wrong, words, flags, right
):
  message = _refused(stage, **wrong)
  missing = [word for word in words if word not in message]
  assert not missing, message
  change = message.split(' Change ')[-1]
  assert all(f'--config.{flag}' in change for flag in flags), message
  _check(stage, **right)


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
  message = _refused(2, **fields)
  assert message.endswith(f'what only you can know: set {flags}.')
  _check(2, **fields | dict(data__path='cache', tokenizer='runs/rqvae'))


def test_the_published_sizes_break_no_rule():
  _check(2, model__spatial_layers=42, model__depth_layers=6,
         model__num_classes=1000, model__null_class=True)  # fmt: skip
  _check(1, loss__adversarial_weight=0.75, loss__perceptual_weight=1.0,
         loss__perceptual_path='checkpoints/lpips')  # fmt: skip


@pytest.mark.parametrize('seed', [-1, 2**32, 2**40, 2**70, 1.5])
def test_a_seed_of_more_than_32_bits_is_refused(seed):
  with pytest.raises(ValueError) as error:
    config.check_seed(seed)
  assert str(error.value) == (
      f'seed={seed} must be a whole number in [0, 2**32), as random keys are'
      ' made from 32 bits. Change --seed.'
  )


@pytest.mark.parametrize('seed', [0, 2**31, 2**32 - 1])
def test_any_seed_of_32_bits_is_taken(seed):
  config.check_seed(seed)
  assert _check(1, seed=seed).seed == seed


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
