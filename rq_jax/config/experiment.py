"""Experiments: every field with its default, and every rule between fields.

A configuration file starts from `defaults(stage)` and sets what makes the
experiment; flags may override any field. `check` then refuses what cannot work,
before anything is built, and returns the experiment as plain values.
"""

from collections.abc import Mapping
import copy
import difflib
import importlib.util
import json
import types
from typing import Any

from rq_jax.config import fields
from rq_jax.config import rules

Config = types.SimpleNamespace


def defaults(stage: int) -> dict[str, Any]:
  """All fields of an experiment of stage 1 or 2, with their defaults."""
  return copy.deepcopy(
      {
          'stage': stage,
          **fields.COMMON,
          **(fields.STAGE1 if stage == 1 else fields.STAGE2),
      }
  )


def template(stage: int):
  """All fields with their defaults, as a locked ConfigDict to set fields of.

  Fields without a default, such as paths, hold placeholders of their type.
  """
  from ml_collections import config_dict  # Not where only models run.

  def field(path: str, default: Any) -> Any:
    if isinstance(default, dict):
      return {n: field(f'{path}{n}.', v) for n, v in default.items()}
    path = path.removesuffix('.')
    if default is None:
      return config_dict.placeholder(fields.OPTIONAL[path])
    if path in fields.PER_DEPTH:  # A number or a tuple.
      return config_dict.FieldReference(default, field_type=object)
    return default

  return config_dict.ConfigDict(field('', defaults(stage))).lock()


def check(raw: Mapping[str, Any]) -> Config:
  """Checks an experiment and returns its values, read as `config.data.path`.

  Args:
    raw: Nested mappings, such as a ConfigDict's `to_dict()` or a parsed
      `config.json`. Fields left out take their defaults.

  Returns:
    The experiment; sequences are tuples.

  Raises:
    ValueError: Naming what was set, what is possible, and the flag to change.
  """
  if raw.get('stage') not in (1, 2):
    raise ValueError(
        f'config.stage={raw.get("stage")!r} must be 1 (RQ-VAE) or 2'
        ' (RQ-Transformer).'
    )
  config = _merge('', defaults(raw['stage']), raw)
  rules.check(config)
  return config


def _merge(
    prefix: str, known: dict[str, Any], raw: Mapping[str, Any]
) -> Config:
  values = {}
  for name in raw:
    if name not in known:
      close = difflib.get_close_matches(name, known, n=1)
      hint = f'Did you mean --config.{prefix}{close[0]}? ' if close else ''
      raise ValueError(
          f'Unknown field config.{prefix}{name}. {hint}Possible are'
          f' {", ".join(sorted(known))}.'
      )
  for name, default in known.items():
    path = prefix + name
    if isinstance(default, dict):
      section = raw.get(name, {})
      if not isinstance(section, Mapping):
        raise ValueError(
            f'config.{path}={section!r} must be a section, with fields'
            f' {", ".join(sorted(default))}. Change --config.{path}.'
        )
      values[name] = _merge(f'{path}.', default, section)
    else:
      values[name] = _value(path, default, raw.get(name, default))
  return Config(**values)


def _value(path: str, default: Any, value: Any) -> Any:
  """Checks one field's type, and the choices it has."""
  kind = fields.OPTIONAL.get(path, type(default))
  several = kind is tuple or path in fields.PER_DEPTH
  if several and isinstance(value, list | tuple):
    item = type(default[0]) if kind is tuple else kind
    value = tuple(_typed(f'{path}[{i}]', item, v) for i, v in enumerate(value))
  elif value is not None or default is not None:
    value = _typed(path, kind, value)
  choices = fields.CHOICES.get(path, (value,))
  if value not in choices:
    raise ValueError(
        f'config.{path}={value!r} is none of {choices}. Change'
        f' --config.{path}.'
    )
  return value


def _typed(path: str, kind: type, value: Any) -> Any:
  if kind is float and type(value) is int:
    return float(value)
  if type(value) is not kind:
    raise ValueError(
        f'config.{path}={value!r} is {_article(type(value))}, but must be'
        f' {_article(kind)}. Change --config.{path.partition("[")[0]}.'
    )
  return value


def _article(kind: type) -> str:
  names = {int: 'an integer', float: 'a number', bool: 'True or False',
           str: 'a text', tuple: 'a tuple', list: 'a list', dict: 'a section',
           type(None): 'not set'}  # fmt: skip
  return names.get(kind, kind.__name__)


def to_dict(config: Config) -> dict[str, Any]:
  """The inverse of `check`: nested dictionaries."""
  return {
      name: to_dict(value) if isinstance(value, Config) else value
      for name, value in vars(config).items()
  }


def flatten(config: Config, prefix: str = '') -> dict[str, Any]:
  """Values by dotted name, such as 'data.path'."""
  flat = {}
  for name, value in vars(config).items():
    if isinstance(value, Config):
      flat |= flatten(value, f'{prefix}{name}.')
    else:
      flat[prefix + name] = value
  return flat


def check_resumable(old: Config, new: Config) -> None:
  """Refuses to resume a run with fields that make it another one.

  Raises:
    ValueError: Naming the fields that differ; the length of the run, logging,
      workers and the mesh may.
  """
  before, after = flatten(old), flatten(new)
  changed = [
      f'config.{name} (was {before.get(name)!r}, is {after.get(name)!r})'
      for name in sorted(before | after)
      if before.get(name) != after.get(name)
      and not name.startswith(fields.RESUMABLE)
  ]
  if changed:
    raise ValueError(
        f'This workdir holds a run with other settings: {"; ".join(changed)}.'
        ' Set them back to resume it, or choose another --workdir.'
    )


def total_steps(config: Config, num_examples: int) -> int:
  """Steps of the whole run, from `train.steps` or `train.epochs`."""
  if config.train.steps is not None:
    return config.train.steps
  return round(config.train.epochs * num_examples / config.data.batch_size)


def load(path: str, *, overrides: Mapping[str, Any] | None = None) -> Config:
  """Runs a configuration file, sets fields by dotted name, and checks it.

  Args:
    path: The file; `FILE:ARGUMENT` hands its `get_config` an argument.
    overrides: Values by dotted name, such as 'data.path'.
  """
  file, *argument = path.split(':', 1)
  spec = importlib.util.spec_from_file_location('experiment', file)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  experiment = module.get_config(*argument)
  for name, value in (overrides or {}).items():
    experiment.update_from_flattened_dict({name: value})
  return check(experiment.to_dict())


def to_json(config: Config) -> str:
  """The experiment as text, readable by `check(json.loads(text))`."""
  return json.dumps(to_dict(config), indent=2)
