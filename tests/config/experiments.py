"""Experiments with some fields set to right or wrong values."""

import pytest

from rq_jax import config
from rq_jax.config import sizes

_NEEDED = {
    1: {'train.steps': 1},
    2: {'train.steps': 1, 'tokenizer': 'runs/rqvae'},
}


def raw(stage, changes=()):
  """The plain values of an experiment, with some fields set by dotted name."""
  made = dict(stage=stage)
  for name, value in dict(changes).items():
    *sections, field = name.split('.')
    section = made
    for part in sections:
      section = section.setdefault(part, {})
    section[field] = value
  return made


def check(stage, **fields):
  """Checks an experiment with some fields set: data__path for data.path."""
  changes = {name.replace('__', '.'): value for name, value in fields.items()}
  return config.check(raw(stage, _NEEDED[stage] | changes))


def refused(stage, **fields):
  """The message of the error for an experiment that is refused."""
  with pytest.raises(ValueError) as error:
    check(stage, **fields)
  return str(error.value)


def sized(size):
  """Fields of an experiment of stage 1 on images of a given size."""
  return dict(
      data__image_size=size,
      model__image_size=size,
      model__channel_multipliers=(1,),
      model__code_shape=(*sizes.pair(size), 1),
      model__attention_resolutions=(),
  )


def assert_refused(stage, wrong, words, flags, right):
  """Asserts that a rule refuses wrong fields and accepts right ones.

  Args:
    stage: The stage of the experiment.
    wrong: Fields that break the rule.
    words: Parts of the message: what was set, and what is required.
    flags: Flags that the end of the message advises to change.
    right: Other values of these fields, which keep the rule.
  """
  message = refused(stage, **wrong)
  missing = [word for word in words if word not in message]
  assert not missing, message
  change = message.split(' Change ')[-1]
  assert all(f'--config.{flag}' in change for flag in flags), message
  check(stage, **right)


def id_of(value):
  """Names a test case by its fields."""
  return ' '.join(value) if isinstance(value, dict) else ''
