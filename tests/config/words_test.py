"""Fields that accept words besides numbers, and fields that are inherited."""

import pytest

from rq_jax import config
from rq_jax.config import fields
from rq_jax.config import schema
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
