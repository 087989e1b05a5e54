"""Fields that accept values of several types, and fields that are inherited."""

import pytest

from rq_jax import config
from rq_jax.config import experiment as experiment_lib
from rq_jax.config import fields
from rq_jax.config import schema
from rq_jax.config import texts
from tests.config import experiments

TEMPERATURE = schema.walk(config.RQTransformerExperiment)['loss.temperature']


def test_a_word_or_a_number():
  assert fields.checked(TEMPERATURE, 'auto') == 'auto'
  assert fields.checked(TEMPERATURE, 1) == 1.0
  assert experiments.check(2, loss__temperature='auto')


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        ('hot', "is a string, but must be a number or 'auto'"),
        (0, 'must be positive'),
        (None, "is not set, but must be a number or 'auto'"),
    ],
)
def test_other_values_are_refused(value, message):
  assert message in experiments.refused(2, loss__temperature=value)


def test_a_configuration_file_may_set_a_word():
  made = config.template(stage=2)
  made.loss.temperature = 'auto'
  made.loss.temperature = 0.5
  assert made.to_dict()['loss']['temperature'] == 0.5


@pytest.mark.parametrize(('stage', 'name'), [(1, 'full'), (2, 'products')])
def test_what_was_a_bool_may_still_be_one(stage, name):
  known = schema.walk(experiment_lib.KINDS[stage])['model.remat']
  for value, text in ((True, 'True'), (False, 'False'), (name, name)):
    expected = {True: name, False: 'none'}.get(value, value)
    assert experiments.check(stage, model__remat=value).model.remat == expected
    assert fields.checked(known, texts.read(known, text)) == expected
    stored = config.parse_stored({'stage': stage, 'model': {'remat': value}})
    assert stored.model.remat == expected
  made = config.template(stage=stage)
  made.model.remat = True
  assert config.parse(made.to_dict()).model.remat == name
  for wrong in ('some', 1):
    assert 'model.remat' in experiments.refused(stage, model__remat=wrong)


def test_inherited_fields_that_are_none_are_listed():
  raw = experiments.raw(2, {'model.num_classes': None, 'data.path': None})
  kind = config.RQTransformerExperiment
  assert schema.unset(kind, raw) == ['model.num_classes']
  assert schema.unset(kind, {}) == []


def test_a_run_in_epochs_has_a_least_number_of_steps():
  def steps(count, **train):
    raw = {'stage': 1, 'data': {'batch_size': 10}, 'train': train}
    return config.total_steps(config.parse(raw), count)

  assert steps(1000, epochs=2.0, min_steps=150) == 200
  assert steps(1000, epochs=2.0, min_steps=250) == 250
  assert steps(1000, steps=5, min_steps=250) == 5
