"""Every field is known by name, type and choice; what is not is refused."""

import dataclasses
import json
import sys

from absl import flags
from ml_collections import config_flags
import pytest

from rq_jax import config
from rq_jax.config import fields
from rq_jax.models import discriminator
from rq_jax.models import rqtransformer
from rq_jax.models import rqvae


def _raw(stage, fields=(), **train):
  """A valid experiment with some fields set, by dotted name."""
  raw = dict(stage=stage, train=train or dict(steps=1))
  if stage == 2:
    raw['tokenizer'] = 'runs/rqvae'
  for name, value in dict(fields).items():
    *sections, field = name.split('.')
    section = raw
    for part in sections:
      section = section.setdefault(part, {})
    section[field] = value
  return raw


def _check(stage, fields=(), **train):
  return config.check(_raw(stage, fields, **train))


def _names(fields, prefix=''):
  """Dotted names of all fields and sections."""
  for name, value in fields.items():
    yield prefix + name
    if isinstance(value, dict):
      yield from _names(value, f'{prefix}{name}.')


_FIELDS = [
    (stage, name)
    for stage in (1, 2)
    for name in _names(config.defaults(stage))
    if name != 'stage'
]
_DEFAULTS = {s: config.flatten(_check(s)) for s in (1, 2)}


@pytest.mark.parametrize(('stage', 'name'), _FIELDS)
def test_a_misspelt_field_is_refused_and_the_right_one_offered(stage, name):
  section, _, field = name.rpartition('.')
  dotted = f'{section}.' if section else ''
  middle = len(field) // 2
  misspelt = (
      field[:middle] + field[middle + 1 :],
      field[:middle] + field[middle] + field[middle:],
  )
  for wrong in misspelt:
    with pytest.raises(ValueError) as error:
      _check(stage, {dotted + wrong: 1})
    message = str(error.value)
    assert message.startswith(f'Unknown field config.{dotted}{wrong}. ')
    assert f'Did you mean --config.{name}?' in message


def test_a_field_like_no_other_gets_the_list_of_those_there_are():
  with pytest.raises(ValueError) as error:
    _check(1, {'mesh.zzz': 1})
  assert str(error.value) == (
      'Unknown field config.mesh.zzz. Possible are data, fsdp, model.'
  )


@pytest.mark.parametrize('stage', [None, 0, 3, '1'])
def test_an_unknown_stage_is_refused(stage):
  with pytest.raises(ValueError, match=r'must be 1 \(RQ-VAE\) or 2 \(RQ-Tr'):
    config.check(dict(stage=stage))


@pytest.mark.parametrize(
    ('stage', 'name', 'value', 'message'),
    [
        (1, 'seed', 1.5, '=1.5 is a number, but must be an integer'),
        (1, 'seed', True, '=True is True or False, but must be an integer'),
        (1, 'seed', None, '=None is not set, but must be an integer'),
        (1, 'seed', {}, '={} is a section, but must be an integer'),
        (1, 'data.flip', 1, '=1 is an integer, but must be True or False'),
        (1, 'data.path', 3, '=3 is an integer, but must be a text'),
        (1, 'data.source', None, '=None is not set, but must be a text'),
        (1, 'optimizer.peak_lr', '1', "='1' is a text, but must be a number"),
        (1, 'optimizer.peak_lr', False, '=False is True or False, but must be'),
        (1, 'optimizer.betas', 0.9, '=0.9 is a number, but must be a tuple'),
        (1, 'optimizer.betas', (0.9, 'x'), r"\[1\]='x' is a text, but must be"),
        (1, 'train.epochs', 'x', "='x' is a text, but must be a number"),
        (1, 'model.code_shape', 8, '=8 is an integer, but must be a tuple'),
        (
            1,
            'model.code_shape',
            (8, 8.0, 4),
            r'\[1\]=8.0 is a number, but must be an integer',
        ),
        (1, 'model.codebook_size', (8, 2.5), r'\[1\]=2.5 is a number, but'),
        (1, 'model.decay', (0.9, 'x'), r"\[1\]='x' is a text, but must be a n"),
        (1, 'model.embed_dim', (8, 8), 'is a tuple, but must be an integer'),
        (2, 'model.depth_gelu', 1, '=1 is an integer, but must be a text'),
        (1, 'data', 'digits', "='digits' must be a section, with fields batch"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(stage, name, value, message):
  with pytest.raises(ValueError, match=message) as error:
    _check(stage, {name: value})
  assert str(error.value).startswith(f'config.{name}')
  assert str(error.value).endswith(f'. Change --config.{name}.')


@pytest.mark.parametrize(
    ('name', 'stage'),
    [
        (name, stage)
        for name in fields.CHOICES
        for stage in (1, 2)
        if name in _DEFAULTS[stage]
    ],
)
def test_of_the_choices_all_are_taken_and_others_refused(name, stage):
  section, field = name.split('.')
  for choice in fields.CHOICES[name]:
    checked = _check(stage, {name: choice, 'data.path': 'cache'})
    assert getattr(getattr(checked, section), field) == choice
  with pytest.raises(ValueError) as error:
    _check(stage, {name: 'other'})
  assert str(error.value) == (
      f"config.{name}='other' is none of {fields.CHOICES[name]}."
      f' Change --config.{name}.'
  )


def test_the_tables_name_fields_that_exist():
  names = {name for stage in (1, 2) for name in _DEFAULTS[stage]}
  tables = (
      *fields.OPTIONAL,
      *fields.PER_DEPTH,
      *fields.CHOICES,
      *fields.POSITIVE,
      *fields.NOT_NEGATIVE,
      *fields.FRACTIONS,
  )
  assert set(tables) <= names


@pytest.mark.parametrize(
    ('stage', 'section', 'module'),
    [
        (1, 'model', rqvae.RQVAE),
        (2, 'model', rqtransformer.RQTransformer),
        (1, 'discriminator', discriminator.PatchDiscriminator),
    ],
)
def test_sections_of_models_are_the_fields_of_the_modules(
    stage, section, module
):
  fields = {
      field.name: field.default
      for field in dataclasses.fields(module)
      if field.name not in ('parent', 'name')
  }
  assert config.defaults(stage)[section] == fields


def test_fields_left_out_take_defaults_and_sequences_become_tuples():
  checked = _check(1, {'optimizer.betas': [0, 0.5], 'model.decay': 0})
  assert checked.optimizer.betas == (0.0, 0.5)
  assert [type(b) for b in checked.optimizer.betas] == [float, float]
  assert type(checked.model.decay) is float
  assert checked.model.code_shape == (8, 8, 4)
  assert checked.train.log_steps == 100


def test_defaults_are_a_fresh_copy():
  config.defaults(1)['data']['batch_size'] = 3
  config.defaults(1)['model']['channels'] = 3
  assert config.defaults(1)['data']['batch_size'] == 128
  assert config.defaults(1)['model']['channels'] == 128


@pytest.mark.parametrize('stage', [1, 2])
def test_an_experiment_survives_json_and_dicts(stage):
  checked = _check(
      stage, {'data.path': 'here', 'init_from': 'there'}, epochs=2.5
  )
  assert config.check(json.loads(config.to_json(checked))) == checked
  assert config.check(config.to_dict(checked)) == checked
  assert set(config.to_dict(checked)) == set(config.defaults(stage))


def test_flattened_fields_have_dotted_names():
  flat = config.flatten(_check(2))
  assert flat['data.batch_size'] == 128 and flat['tokenizer'] == 'runs/rqvae'
  assert set(flat) == {
      name for name in _names(config.defaults(2)) if '.' in name
  } | {'stage', 'seed', 'init_from', 'tokenizer'}


def _parsed(monkeypatch, experiment, *arguments):
  """What the flags `--config.x=y` make of an experiment."""
  values = flags.FlagValues()
  # ml_collections looks for the fields to define among these.
  monkeypatch.setattr(sys, 'argv', ['train', *arguments])
  config_flags.DEFINE_config_dict('config', experiment, flag_values=values)
  values(sys.argv)
  return values.config


def test_a_template_takes_values_of_its_types_from_flags(monkeypatch):
  parsed = _parsed(
      monkeypatch,
      config.template(1),
      '--config.data.path=images',
      '--config.init_from=run',
      '--config.train.epochs=3',
      '--config.data.flip',
      '--config.optimizer.betas=(0.5, 0.9)',
      '--config.model.code_shape=8,8,2',
      '--config.model.codebook_size=(64, 32)',
      '--config.model.decay=0.9',
      '--config.model.shared_codebook=False',
  )
  checked = config.check(parsed.to_dict())
  assert (checked.data.path, checked.init_from) == ('images', 'run')
  assert (checked.train.epochs, checked.train.steps) == (3.0, None)
  assert checked.data.flip is True
  assert checked.optimizer.betas == (0.5, 0.9)
  assert checked.model.code_shape == (8, 8, 2)
  assert checked.model.codebook_size == (64, 32)
  assert checked.model.decay == 0.9


@pytest.mark.parametrize(
    'argument', ['--config.train.steps=1.5', '--config.data.flip=maybe']
)
def test_a_template_takes_no_other_types_from_flags(monkeypatch, argument):
  with pytest.raises(flags.IllegalFlagValueError):
    _parsed(monkeypatch, config.template(1), argument)


@pytest.mark.parametrize('stage', [1, 2])
def test_a_template_has_all_fields_and_no_room_for_others(stage):
  template = config.template(stage)
  assert template.to_dict() == config.defaults(stage)
  for section in (template, template.model, template.train):
    with pytest.raises(AttributeError):
      section.nonsense = 1
  with pytest.raises(TypeError):
    template.data.batch_size = 'many'
  template.data.path = 'images'
  template.model.codebook_size = (64, 32)
  assert template.model.codebook_size == (64, 32)


_RESUMABLE = {
    'train.steps': 20,
    'train.log_steps': 7,
    'train.eval_steps': 7,
    'train.checkpoint_steps': 7,
    'train.keep_checkpoints': 7,
    'data.workers': 3,
    'data.path': 'elsewhere',
    'data.max_pixels': 7,
    'init_from': 'elsewhere',
    'loss.perceptual_path': 'elsewhere',
    'mesh.data': 1,
    'mesh.fsdp': 2,
    'mesh.model': 2,
}


def test_a_run_may_be_resumed_longer_and_on_another_machine():
  old = _check(1)
  for name, value in _RESUMABLE.items():
    config.check_resumable(old, _check(1, {name: value}))
  config.check_resumable(old, _check(1, epochs=3.0))
  moved = _check(2, {'tokenizer': 'elsewhere'})
  config.check_resumable(_check(2), moved)


def test_a_run_may_not_be_resumed_as_another_one():
  changes = {'seed': 1, 'data.flip': True, 'model.dropout': 0.5}
  for name, value in changes.items():
    with pytest.raises(ValueError, match=f'config.{name} ') as error:
      config.check_resumable(_check(1), _check(1, {name: value}))
    was = _DEFAULTS[1][name]
    assert f'(was {was!r}, is {value!r})' in str(error.value)
  with pytest.raises(ValueError) as error:
    config.check_resumable(_check(1), _check(1, changes | {'mesh.fsdp': 2}))
  message = str(error.value)
  assert all(f'config.{name} (was' in message for name in changes)
  assert 'mesh' not in message and '--workdir' in message
  perceptual = {'loss.perceptual_path': 'lpips', 'loss.perceptual_weight': 1.0}
  with pytest.raises(ValueError, match=r'perceptual_weight \(was 1.0, is 0.0'):
    config.check_resumable(_check(1, perceptual), _check(1))
  with pytest.raises(ValueError, match=r'config.stage \(was 1, is 2\)'):
    config.check_resumable(_check(1), _check(2))


def test_the_length_of_a_run_is_given_in_steps_or_epochs():
  assert config.total_steps(_check(1, steps=7), 1000) == 7
  epochs = _check(1, {'data.batch_size': 64}, epochs=2.5)
  # 2.5 * 1000 / 64 = 39.06
  assert config.total_steps(epochs, 1000) == 39


def test_a_file_is_loaded_with_some_fields_set_and_checked(tmp_path):
  file = tmp_path / 'experiment.py'
  file.write_text(
      'from rq_jax import config\n'
      'def get_config():\n'
      '  experiment = config.template(1)\n'
      '  experiment.train.steps = 5\n'
      '  return experiment\n'
  )
  assert config.load(str(file)) == _check(1, steps=5)
  changes = {'train.log_steps': 7, 'data.path': 'images', 'seed': 3}
  loaded = config.load(str(file), overrides=changes)
  assert loaded == _check(1, changes | {'train.steps': 5})
  with pytest.raises(ValueError, match='batch_size=0 must be positive'):
    config.load(str(file), overrides={'data.batch_size': 0})
