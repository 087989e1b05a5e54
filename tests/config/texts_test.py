"""Values of fields are parsed as they are typed."""

import pytest

from rq_jax import config
from rq_jax.config import experiment
from rq_jax.config import fields
from rq_jax.config import schema
from rq_jax.config import texts

FIELDS = {
    name: known
    for kind in experiment.KINDS.values()
    for name, known in schema.walk(kind).items()
}


@pytest.mark.parametrize(
    ('name', 'text', 'value'),
    [
        ('train.steps', '7', 7),
        ('train.steps', 'None', None),
        ('train.steps', '', None),
        ('data.path', '', None),
        ('data.path', 'None', None),
        ('model.depth_gelu', 'none', None),
        ('data.source', 'digits', 'digits'),
        ('train.epochs', '2', 2.0),
        ('model.num_classes', 'None', None),
        ('loss.temperature', 'auto', 'auto'),
        ('loss.temperature', '0.25', 0.25),
        ('optimizer.peak_lr', '1e-4', 1e-4),
        ('data.flip', 'True', True),
        ('data.flip', '0', False),
        ('model.code_shape', '8,8,2', (8, 8, 2)),
        ('model.code_shape', '(8, 8, 2)', (8, 8, 2)),
        ('model.code_shape', '[8, 8, 2]', (8, 8, 2)),
        ('model.attention_resolutions', '8', (8,)),
        ('model.attention_resolutions', '()', ()),
        ('model.codebook_size', '64', 64),
        ('model.codebook_size', '(64, 32)', (64, 32)),
        ('data.image_size', '24,32', (24, 32)),
        ('data.image_size', '32', 32),
        ('model.decay', '0.5', 0.5),
        ('optimizer.betas', '0.5,0.9', (0.5, 0.9)),
    ],
)
def test_a_text_becomes_the_value_it_stands_for(name, text, value):
  read = texts.read(FIELDS[name], text)
  assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    'name', [name for name, known in FIELDS.items() if known.optional]
)
@pytest.mark.parametrize('text', ['None', ''])
def test_every_optional_field_can_be_unset(name, text):
  assert texts.read(FIELDS[name], text) is None


@pytest.mark.parametrize(
    ('name', 'text', 'message'),
    [
        ('train.steps', '1.5', 'is not an integer. Write, for example, '),
        ('seed', 'None', 'an integer. Write, for example, --config.seed=0.'),
        ('data.flip', 'maybe', 'is not True or False'),
        ('optimizer.eps', '', 'is not a number. Write, for example, '),
        ('model.embed_dim', '8,8', 'is not an integer'),
        ('model.code_shape', 'x', 'a tuple of 3 integers. Write, for example,'),
        ('model.codebook_size', 'a,b', 'an integer or a tuple of integers'),
        ('data.image_size', '24x32', 'an integer or a tuple of 2 integers'),
        ('model.code_shape', '{[]:1},2,3', 'a tuple of 3 integers'),
        ('model.code_shape', '(' * 10_000, 'a tuple of 3 integers'),
    ],
)
def test_a_text_that_is_no_value_is_refused(name, text, message):
  with pytest.raises(ValueError) as error:
    texts.read(FIELDS[name], text)
  assert str(error.value).startswith(f'--config.{name}={text} is not ')
  assert message in str(error.value)


@pytest.mark.parametrize(
    'name', [n for n, known in FIELDS.items() if known.kind is not str]
)
def test_the_examples_are_values_of_their_fields(name):
  known = FIELDS[name]
  value = texts.read(known, texts.example(known))
  fields.checked(known, value)


def test_a_default_survives_being_shown_and_typed():
  for name, value in config.flatten(config.parse({'stage': 2})).items():
    if name == 'stage':
      continue
    text = ','.join(map(str, value)) if isinstance(value, tuple) else str(value)
    assert texts.read(FIELDS[name], text) == value, name
