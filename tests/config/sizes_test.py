"""A size of images is one number for squares, or a height and a width."""

import json

import pytest

from rq_jax import config
from rq_jax.config import experiment
from rq_jax.config import reading
from rq_jax.config import sizes
from tests.config import experiments

# Digits of 24x32 pixels: four levels make code maps of 3x4.
NOT_SQUARE = {
    'data.image_size': (24, 32),
    'model.image_size': (24, 32),
    'model.channel_multipliers': (1, 2, 2, 2),
    'model.attention_resolutions': (3,),
    'model.code_shape': (3, 4, 2),
    'train.steps': 1,
}


def test_the_height_comes_first():
  assert sizes.pair(256) == (256, 256)
  assert sizes.pair((24, 32)) == (24, 32)
  assert (sizes.text(256), sizes.text((24, 32))) == ('256x256', '24x32')


@pytest.mark.parametrize('square', [64, (64, 64), [64, 64]])
def test_equal_sides_are_stored_as_one_number(square):
  made = config.parse(experiments.raw(1, {'data.image_size': square}))
  assert type(made.data.image_size) is int and made.data.image_size == 64
  same = config.parse(experiments.raw(1, {'data.image_size': 64}))
  assert config.to_json(made) == config.to_json(same)
  config.check_resumable(made, same)


def test_other_sizes_survive_json_and_templates():
  made = config.check(experiments.raw(1, NOT_SQUARE))
  assert made.data.image_size == made.model.image_size == (24, 32)
  assert made.model.feature_map == (3, 4)
  again = config.parse_stored(json.loads(config.to_json(made)))
  assert again == made
  template = experiment.template(1)
  template.update(config.to_dict(made))
  assert config.check(template.to_dict()) == made


def test_a_flag_may_set_height_and_width_where_a_file_has_one_number():
  template = experiment.template(1)
  template.data.image_size = 32
  sizes_of = {
      name: x for name, x in NOT_SQUARE.items() if name != 'train.steps'
  }
  raw = reading.with_values(template, sizes_of | {'train.steps': 1})
  assert config.check(raw).data.image_size == (24, 32)
  template.data.image_size = (24, 32)
  raw = reading.with_values(template, {'data.image_size': 32})
  assert config.parse(raw).data.image_size == 32


def test_a_run_is_not_resumed_with_height_and_width_exchanged():
  old, new = (
      config.parse(experiments.raw(1, {'data.image_size': size}))
      for size in ((24, 32), (32, 24))
  )
  with pytest.raises(ValueError, match=r'was \(24, 32\), is \(32, 24\)'):
    config.check_resumable(old, new)


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        ((24, 32, 3), r'=\(24, 32, 3\) must be a tuple of 2 numbers'),
        ((24,), r'=\(24,\) must be a tuple of 2 numbers'),
        ((24, 0), r'=\(24, 0\) must be positive'),
        ((24, 32.0), r'image_size\[1\]=32.0 is a number, but must be an int'),
        ('24x32', 'is a string, but must be an integer'),
    ],
)
def test_a_value_that_is_no_size_is_refused(value, message):
  with pytest.raises(ValueError, match=message):
    config.parse(experiments.raw(1, {'data.image_size': value}))


@pytest.mark.parametrize(
    ('tokenizer', 'words', 'flag'),
    [(32, '32x32', '32'), ((24, 32), '24x32', '24,32')],
)
def test_images_that_a_tokenizer_does_not_encode_are_refused(
    tokenizer, words, flag
):
  sizes.check_encodable(sizes.pair(tokenizer), tokenizer)
  with pytest.raises(ValueError) as error:
    sizes.check_encodable((32, 24), tokenizer)
  assert str(error.value) == (
      'config.data.image_size=(32, 24), but the tokenizer encodes images of'
      f' {words} pixels. Set --config.data.image_size={flag}.'
  )


# Arguments of `experiments.assert_refused`.
_RULES = [
    (
        1,
        dict(**experiments.sized((40, 8)), **loss, loss__perceptual_weight=0.5),
        ['image_size=(40, 8)', 'must be at least 16 on each side'],
        ['model.image_size'],
        dict(
            **experiments.sized((40, 16)), **loss, loss__perceptual_weight=0.5
        ),
    )
    for loss in [dict(loss__perceptual_path='checkpoints/lpips')]
]
_RULES += [
    (
        1,
        dict(**experiments.sized(size), **loss, discriminator__layers=4),
        ['discriminator.layers=4', f'image_size={size}', 'must not exceed 3'],
        ['discriminator.layers'],
        dict(**experiments.sized(size), **loss, discriminator__layers=3),
    )
    for loss in [dict(loss__adversarial_weight=0.5)]
    for size in ((24, 96), (96, 24))
]
_WIDE = dict(data__image_size=(256, 512), model__image_size=(256, 512))
_RULES += [
    (
        1,
        dict(**_WIDE, model__code_shape=shape),
        [
            f'code_shape={shape}',
            'must begin with 8, 16',
            'a feature map of 8x16 positions from 256x512 pixels',
        ],
        ['model.code_shape', 'model.image_size'],
        dict(**_WIDE, model__code_shape=(8, 16, 4)),
    )
    for shape in ((8, 8, 4), (4, 16, 4))
]
_WIDE |= dict(model__code_shape=(8, 16, 4))
_RULES += [
    (
        1,
        _WIDE | dict(data__image_size=(512, 256)),
        [
            'data.image_size=(512, 256)',
            'must equal config.model.image_size=(256, 512)',
        ],
        ['data.image_size'],
        _WIDE,
    ),
    (
        1,
        _WIDE | dict(model__attention_resolutions=(512,)),
        ['contains 512, but no level has', '256, 128, 64, 32, 16, 8'],
        ['model.attention_resolutions'],
        _WIDE | dict(model__attention_resolutions=(16,)),
    ),
    (
        1,
        _WIDE | dict(model__image_size=(256, 500)),
        ['image_size=(256, 500)', 'a multiple of 32 on each side'],
        ['model.image_size', 'model.channel_multipliers'],
        _WIDE,
    ),
    (
        1,
        _WIDE | dict(model__code_shape=(16, 8, 4)),
        ['code_shape=(16, 8, 4)', 'divide the 8x16 feature map evenly'],
        ['model.code_shape', 'model.channel_multipliers'],
        _WIDE,
    ),
]


@pytest.mark.parametrize(
    ('stage', 'wrong', 'words', 'flags', 'right'),
    _RULES,
    ids=experiments.id_of,
)
def test_rules_hold_for_both_sides(stage, wrong, words, flags, right):
  experiments.assert_refused(stage, wrong, words, flags, right)
