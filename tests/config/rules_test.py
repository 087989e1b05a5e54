"""Rules between fields: what breaks one is told what was set and what to do."""

import itertools

import pytest

from rq_jax import config
from rq_jax.config import fields

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
      model__code_shape=(8, 8, 1),
  )


def _refused(stage, **fields):
  with pytest.raises(ValueError) as error:
    _check(stage, **fields)
  return str(error.value)


def _stages(name):
  return [
      stage
      for stage in (1, 2)
      if name in config.flatten(config.check(_RUNS[stage]))
  ]


_RANGES = (
    (fields.POSITIVE, (0, -1), 'must be positive'),
    (fields.NOT_NEGATIVE, (-1,), 'must not be negative'),
    (fields.FRACTIONS, (-1, 1), 'must lie in [0, 1)'),
)
_BROKEN = [
    (name, stage, value, required)
    for names, values, required in _RANGES
    for name, value in itertools.product(names, values)
    for stage in _stages(name)
]


@pytest.mark.parametrize(('name', 'stage', 'value', 'required'), _BROKEN)
def test_a_number_out_of_its_range_is_refused(name, stage, value, required):
  field = name.replace('.', '__')
  default = config.flatten(config.check(_RUNS[stage]))[name]
  if isinstance(default, tuple):  # One bad number among good ones.
    value = (*default[:-1], value)
  kind = fields.OPTIONAL.get(name, type(default))
  value = float(value) if kind is float else value
  if isinstance(default, tuple):
    value = tuple(type(default[0])(v) for v in value)
  changes = {field: value}
  if name == 'train.epochs':
    changes['train__steps'] = None
  message = _refused(stage, **changes)
  assert message == f'config.{name}={value} {required}. Change --config.{name}.'


@pytest.mark.parametrize(
    'fields',
    [
        dict(
            data__workers=0, optimizer__warmup_steps=0, optimizer__betas=(0, 0)
        ),
        dict(model__res_blocks=(0, 0, 0, 0, 0, 0), loss__commitment_weight=0),
        dict(model__decay=0, model__dropout=0.99, discriminator__layers=1),
    ],
)
def test_the_ends_of_the_ranges_are_accepted(fields):
  _check(1, **fields)


def test_of_several_numbers_all_must_be_in_range():
  fields = dict(model__shared_codebook=False, model__code_shape=(8, 8, 2))
  message = _refused(1, model__codebook_size=(8, 0), **fields)
  assert 'config.model.codebook_size=(8, 0) must be positive' in message
  message = _refused(1, model__decay=(0.9, 1), **fields)
  assert 'config.model.decay=(0.9, 1.0) must lie in [0, 1)' in message


# Stage, the fields, words of the message (what was set, what is required), the
# flags it ends with, and other values of these fields that are right.
_RULES = [
    (
        1,
        dict(model__code_shape=(8, 8)),
        ['code_shape=(8, 8)', 'height, width and depth'],
        ['model.code_shape'],
        dict(model__code_shape=(8, 8, 1)),
    ),
    (
        1,
        dict(model__code_shape=()),
        ['code_shape=()', 'height, width and depth'],
        ['model.code_shape'],
        dict(model__code_shape=(4, 2, 1)),
    ),
    (
        1,
        dict(optimizer__betas=(0.9,)),
        ['betas=(0.9,)', 'must be two numbers'],
        ['optimizer.betas'],
        dict(optimizer__betas=(0.9, 0.95)),
    ),
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
        dict(model__channel_multipliers=(1,)),
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
        dict(model__code_shape=(8, 4, 4)),
    ),
    (
        1,
        dict(model__code_shape=(16, 8, 4)),
        ['code_shape=(16, 8, 4)', 'divide the 8x8 feature map evenly'],
        ['model.code_shape', 'model.channel_multipliers'],
        dict(model__code_shape=(2, 8, 4)),
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
             model__norm_groups=32),
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
        dict(model__text_vocab_size=5, model__text_length=3),
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
        1,
        dict(data__max_pixels=fields.PILLOW_MAX_PIXELS + 1),
        ['data.max_pixels=178956971', 'must not exceed 178956970'],
        ['data.max_pixels'],
        dict(data__max_pixels=fields.PILLOW_MAX_PIXELS),
    ),
    (
        2,
        dict(model__null_class=True),
        ['null_class=True', 'needs a condition'],
        ['model.null_class to False'],
        dict(model__null_class=True, model__text_vocab_size=5,
             model__text_length=3),
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


@pytest.mark.parametrize('stage', [1, 2])
@pytest.mark.parametrize('seed', [-1, 2**32, 2**40, 2**70])
def test_a_seed_of_more_than_32_bits_is_refused(stage, seed):
  assert _refused(stage, seed=seed) == (
      f'config.seed={seed} must be a whole number in [0, 2**32), as random keys'
      ' are made from 32 bits. Change --config.seed.'
  )


@pytest.mark.parametrize('seed', [0, 2**31, 2**32 - 1])
def test_any_seed_of_32_bits_is_taken(seed):
  assert _check(1, seed=seed).seed == seed
