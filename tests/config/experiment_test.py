"""Every field has a name, a type and a range; other input is refused."""

import dataclasses
import json
import math

import pytest

from rq_jax import config
from rq_jax.config import experiment as experiment_lib
from rq_jax.config import schema
from rq_jax.models import discriminator
from rq_jax.models import rqtransformer
from rq_jax.models import rqvae
from tests.config import experiments

KINDS = experiment_lib.KINDS
FIELDS = [
    (stage, name, known)
    for stage, kind in KINDS.items()
    for name, known in schema.walk(kind).items()
    if name != 'stage'
]
NUMBERS = [each for each in FIELDS if each[2].kind in (int, float)]
DEFAULTS = {stage: config.flatten(config.parse({'stage': stage}))
            for stage in KINDS}  # fmt: skip


def parse(stage, changes=()):
  return config.parse(experiments.raw(stage, changes))


def refused(stage, changes):
  with pytest.raises(ValueError) as error:
    parse(stage, changes)
  return str(error.value)


def ids(value):
  return value if isinstance(value, str) else ''


@pytest.mark.parametrize(('stage', 'name', 'known'), FIELDS, ids=ids)
def test_a_misspelt_field_is_refused_and_the_right_one_offered(
    stage, name, known
):
  section, _, field = name.rpartition('.')
  dotted = f'{section}.' if section else ''
  middle = len(field) // 2
  misspelt = (
      field[:middle] + field[middle + 1 :],
      field[:middle] + field[middle] + field[middle:],
  )
  for wrong in misspelt:
    message = refused(stage, {dotted + wrong: 1})
    assert message.startswith(f'Unknown field config.{dotted}{wrong}. ')
    assert f'Did you mean --config.{name}?' in message
  assert known.name == name and known.declaration.meaning.endswith('.')


def test_a_field_like_no_other_gets_the_list_of_those_there_are():
  assert refused(1, {'mesh.zzz': 1}) == (
      'Unknown field config.mesh.zzz. Possible fields are data, fsdp, model,'
      ' slices.'
  )


@pytest.mark.parametrize('stage', [None, 0, 3, '1', [2], True])
def test_an_unknown_stage_is_refused(stage):
  with pytest.raises(ValueError, match=r'must be 1 \(RQ-VAE\) or 2 \(RQ-Tr'):
    config.parse(dict(stage=stage))


@pytest.mark.parametrize(
    ('stage', 'name', 'value', 'message'),
    [
        (1, 'seed', 1.5, '=1.5 is a number, but must be an integer'),
        (
            1,
            'seed',
            True,
            '=True is a boolean (True or False), but must be an integer',
        ),
        (1, 'seed', None, '=None is not set, but must be an integer'),
        (1, 'seed', {}, '={} is a section, but must be an integer'),
        (1, 'data.flip', 1, '=1 is an integer, but must be a boolean (True or'),
        (1, 'data.path', 3, '=3 is an integer, but must be a string'),
        (1, 'data.source', None, '=None is not set, but must be a string'),
        (1, 'optimizer.peak_lr', '1', "='1' is a string, but must be a number"),
        (1, 'optimizer.peak_lr', False, '=False is a boolean (True or False),'),
        (1, 'optimizer.betas', 0.9, '=0.9 is a number, but must be a tuple'),
        (1, 'optimizer.betas', (0.9, 'x'), "[1]='x' is a string, but must be"),
        (1, 'optimizer.betas', (0.9,), '=(0.9,) must be a tuple of 2 numbers'),
        (1, 'train.epochs', 'x', "='x' is a string, but must be a number"),
        (1, 'model.code_shape', 8, '=8 is an integer, but must be a tuple'),
        (1, 'model.code_shape', (8, 8), '=(8, 8) must be a tuple of 3 numbers'),
        (1, 'model.code_shape', (8, 8.0, 4), '[1]=8.0 is a number, but must'),
        (1, 'model.codebook_size', (8, 2.5), '[1]=2.5 is a number, but'),
        (1, 'model.decay', (0.9, 'x'), "[1]='x' is a string, but must be a n"),
        (1, 'model.embed_dim', (8, 8), 'is a tuple, but must be an integer'),
        (2, 'model.depth_gelu', 1, '=1 is an integer, but must be a string'),
        (1, 'data', 'digits', "='digits' must be a section with the fields ba"),
        (1, 'model', None, '=None must be a section with the fields attention'),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(stage, name, value, message):
  found = refused(stage, {name: value})
  assert found.startswith(f'config.{name}') and message in found
  assert found.endswith(f'. Change --config.{name}.')


@pytest.mark.parametrize(
    ('stage', 'name', 'known'),
    [each for each in FIELDS if each[2].declaration.choices],
    ids=ids,
)
def test_of_the_choices_all_are_taken_and_others_refused(stage, name, known):
  section, field = name.split('.')
  choices = known.declaration.choices
  for choice in choices:
    assert getattr(getattr(parse(stage, {name: choice}), section), field) == (
        choice
    )
  assert refused(stage, {name: 'other'}) == (
      f"config.{name}='other' is not one of {choices}. Change --config.{name}."
  )


def beyond(known):
  """Values that a numeric field refuses, each with a part of its message."""
  declared = known.declaration
  if declared.above is not None:
    yield from ((0, 'must be positive'), (-1, 'must be positive'))
  if declared.at_least is not None:
    yield declared.at_least - 1, 'must '
  if declared.below is not None:
    yield declared.below, f'must be in [0, {declared.below})'
  if known.kind is float:
    for value in (math.inf, -math.inf, math.nan):
      yield value, 'must be a finite number'
  else:
    yield 2**40, 'must not exceed '
  if declared.at_most is not None:
    yield declared.at_most + 1, f'must not exceed {declared.at_most}'


@pytest.mark.parametrize(('stage', 'name', 'known'), NUMBERS, ids=ids)
def test_a_number_out_of_its_range_is_refused(stage, name, known):
  found = list(beyond(known))
  assert found
  for value, required in found:
    value = known.kind(value)
    if not known.single:  # Put one bad number among good ones.
      value = (*(known.default[:-1] or ()), value)
    message = refused(stage, {name: value})
    assert message.startswith(f'config.{name}'), message
    assert required in message and message.endswith(f'--config.{name}.')


def test_of_several_numbers_all_must_be_in_range():
  fields = {'model.shared_codebook': False, 'model.code_shape': (8, 8, 2)}
  message = refused(1, fields | {'model.codebook_size': (8, 0)})
  assert 'config.model.codebook_size=(8, 0) must be positive' in message
  message = refused(1, fields | {'model.decay': (0.9, 1)})
  assert 'config.model.decay=(0.9, 1.0) must be in [0, 1)' in message


def test_the_ends_of_the_ranges_are_taken():
  zero = {'data.workers': 0, 'optimizer.betas': (0, 0), 'model.decay': 0}
  assert parse(1, zero).optimizer.betas == (0.0, 0.0)
  assert parse(1, {'seed': 2**32 - 1}).seed == 2**32 - 1
  assert parse(2, {'loss.condition_weight': 1}).loss.condition_weight == 1.0
  assert parse(1, {'mesh.data': -1}).mesh.data == -1


@pytest.mark.parametrize(
    ('description', 'module'),
    [
        (config.RQVAEConfig, rqvae.RQVAE),
        (config.RQTransformerConfig, rqtransformer.RQTransformer),
        (config.DiscriminatorConfig, discriminator.PatchDiscriminator),
    ],
)
def test_descriptions_have_the_fields_and_defaults_of_their_modules(
    description, module
):
  fields = {
      field.name: field.default
      for field in dataclasses.fields(module)
      if field.name not in ('parent', 'name')
  }
  assert vars(description()) == fields


def test_a_description_stands_alone_and_is_checked_wherever_it_is_made():
  made = config.RQVAEConfig(image_size=32, code_shape=[1, 1, 4], decay=0)
  assert made.code_shape == (1, 1, 4) and type(made.decay) is float
  with pytest.raises(ValueError, match='config.model.width=100 must be a mult'):
    config.RQTransformerConfig(width=100)
  with pytest.raises(ValueError, match='image_size=-1 must be positive'):
    dataclasses.replace(made, image_size=-1)
  with pytest.raises(dataclasses.FrozenInstanceError):
    made.image_size = 64
  assert config.parse_model({'stage': 1, 'model': vars(made), 'x': 1}) == made


def test_fields_left_out_take_defaults_and_sequences_become_tuples():
  made = parse(1, {'optimizer.betas': [0, 0.5], 'model.decay': 0})
  assert made.optimizer.betas == (0.0, 0.5)
  assert [type(b) for b in made.optimizer.betas] == [float, float]
  assert type(made.model.decay) is float
  assert made.model.code_shape == (8, 8, 4)
  assert made.train.log_steps == 100 and made.train.eval_images == 50_000


@pytest.mark.parametrize('path', ['', ' ', '~nosuchuser/x'])
def test_paths_that_name_nothing_are_refused(path):
  with pytest.raises(ValueError, match=r'^--config\.data\.path='):
    parse(1, {'data.path': path})


def test_paths_are_expanded_but_those_of_remote_storage(monkeypatch):
  monkeypatch.setenv('HOME', '/home/someone')
  paths = {'data.path': '~/data', 'tokenizer': 'gs://a/~b', 'init_from': 'x'}
  made = parse(2, paths)
  assert made.data.path == '/home/someone/data'
  assert (made.tokenizer, made.init_from) == ('gs://a/~b', 'x')


@pytest.mark.parametrize('stage', [1, 2])
def test_an_experiment_survives_json_and_dicts(stage):
  made = parse(
      stage,
      {'data.path': 'here', 'init_from': 'there', 'train.epochs': 2.5},
  )
  assert config.parse(json.loads(config.to_json(made))) == made
  assert config.parse(config.to_dict(made)) == made
  assert list(config.to_dict(made))[:2] == ['stage', 'seed']


def test_flattened_fields_have_dotted_names():
  flat = DEFAULTS[2]
  assert flat['data.batch_size'] == 128 and flat['tokenizer'] is None
  assert set(flat) == {'stage', *(n for s, n, _ in FIELDS if s == 2)}


@pytest.mark.parametrize('stage', [1, 2])
def test_a_template_has_all_fields_and_no_room_for_others(stage):
  template = config.template(stage)
  assert config.parse(template.to_dict()) == parse(stage)
  for section in (template, template.model, template.train):
    with pytest.raises(AttributeError):
      section.nonsense = 1
  with pytest.raises(TypeError):
    template.data.batch_size = 'many'
  template.data.path = 'images'
  template.train.steps = 3
  template.model.codebook_size = (64, 32)
  assert template.model.codebook_size == (64, 32)


def test_the_length_of_a_run_is_given_in_steps_or_epochs():
  assert config.total_steps(parse(1, {'train.steps': 7}), 1000) == 7
  epochs = parse(1, {'data.batch_size': 64, 'train.epochs': 2.5})
  # 2.5 * 1000 / 64 = 39.06
  assert config.total_steps(epochs, 1000) == 39
  with pytest.raises(ValueError, match='Neither config.train.steps nor'):
    config.total_steps(parse(1), 1000)
