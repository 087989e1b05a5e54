"""Reads configuration files: Python with `get_config`, or the JSON of a run."""

from collections.abc import Mapping
import importlib.util
import os
import pathlib
import sys
import traceback
from typing import Any

from rq_jax import files
from rq_jax.config import experiment as experiment_lib
from rq_jax.config import fields
from rq_jax.config import models
from rq_jax.config import schema

_RUN = 'config.json'
_TAKES_NOTHING = (
    'This {} takes no argument. Leave out the colon and the text after it.'
)


def load(
    path: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    with_data: bool = True,
) -> experiment_lib.Experiment:
  """Reads a configuration file, sets fields by dotted name, and checks it.

  Args:
    path: Path of the configuration file; see `read`.
    overrides: Values by dotted name, such as 'data.path'.
    with_data: Whether data and weights must be set; see `experiment.check`.

  Raises:
    ValueError: If there is no such file, or its experiment cannot be trained.
  """
  raw = with_values(read(path), overrides or {})
  return experiment_lib.check(raw, with_data=with_data)


def with_values(config: Any, values: Mapping[str, Any]) -> dict[str, Any]:
  """The plain values of a ConfigDict, with some fields set by dotted name.

  Fields that refer to a changed field (by a FieldReference) change with it.

  Raises:
    ValueError: If there is no such field, or it does not accept the value.
  """
  raw = config.to_dict()
  kind = experiment_lib.kind_of(raw)
  schema.check_sections(kind, raw)
  for name, value in values.items():
    known = schema.require_field(kind, name)
    if value is not None or not known.declaration.inherited:
      fields.checked(known, value)
    _follow(config, name.split('.'), value)
  raw = config.to_dict()
  for name, value in values.items():
    *sections, field = name.split('.')
    section = raw
    for part in sections:
      section = section.setdefault(part, {})
    section[field] = value
  return raw


def _follow(config: Any, names: list[str], value: Any) -> None:
  """Sets a field in a ConfigDict, so that fields that refer to it change too.

  Values that the ConfigDict does not hold are set later, in its plain values.
  """
  *sections, field = names
  for part in sections:
    config = config.get(part, {})
  if field in config and hasattr(config, 'ignore_type'):
    with config.ignore_type():
      config[field] = value


def load_model(
    path: str, *, flag: str = '--config'
) -> models.RQVAEConfig | models.RQTransformerConfig:
  """Reads only the network's description from a configuration file.

  Args:
    path: Path of the configuration file; see `read`.
    flag: Name of the flag that gave the path, for errors.

  Raises:
    ValueError: If there is no such file, or its network cannot be built.
  """
  return experiment_lib.parse_model(read(path, flag=flag).to_dict())


def read(path: str, *, flag: str = '--config') -> Any:
  """Reads the ConfigDict of a configuration file, without checking it.

  Args:
    path: A Python file, or `FILE:ARGUMENT` to pass an argument to its
      `get_config`; or the config.json of a run, or the run's folder.
    flag: Name of the flag that gave the path, for errors.

  Raises:
    ValueError: If there is no such file, or it does not return an experiment.
  """
  file, argument = split(path, flag=flag)
  given = f'{flag}={path}'
  if file.is_dir():
    file = file / _RUN
    if not file.is_file():
      raise ValueError(
          f'{given} is a folder without a {_RUN}. Give a configuration file or'
          ' the folder of a run.'
      )
  if file.suffix == '.json':
    if argument is not None:
      raise ValueError(_TAKES_NOTHING.format(flag))
    return _from_json(file)
  if file.suffix != '.py':
    raise ValueError(
        f'{given} is neither a Python file with a function get_config nor the'
        f' {_RUN} of a run. Give one of these files.'
    )
  return _from_python(file, argument, given)


def split(
    path: str, *, flag: str = '--config'
) -> tuple[pathlib.Path, str | None]:
  """Splits `FILE:ARGUMENT` into the file and its argument, if there is one.

  Names of files and folders may contain colons, too.

  Args:
    path: Path of the configuration file; see `read`.
    flag: Name of the flag that gave the path, for errors.

  Raises:
    ValueError: If there is no such file.
  """
  path = files.path(path, flag)
  if os.path.exists(path):
    return pathlib.Path(path), None
  file, colon, argument = path.rpartition(':')
  while colon and not os.path.exists(file):
    file, colon, rest = file.rpartition(':')
    argument = f'{rest}:{argument}'
  if not colon:
    name, ends, _ = path.partition('.py:')
    missing = f'{name}.py' if ends else path
    raise ValueError(
        f'{flag}={path} cannot be read: there is no file {missing}. Check the'
        ' path.'
    )
  return pathlib.Path(file), argument


def filled_in(experiment: experiment_lib.Experiment) -> Any:
  """The template of a stage, filled in with an experiment."""
  config = experiment_lib.template(experiment.stage)
  config.update(experiment_lib.to_dict(experiment))
  return config


def _from_json(file: pathlib.Path) -> Any:
  """Reads the experiment of a run as a filled-in template."""
  return filled_in(experiment_lib.parse_stored(files.read_json_object(file)))


def _from_python(file: pathlib.Path, argument: str | None, given: str) -> Any:
  """Calls `get_config` of a file and returns its ConfigDict.

  Raises:
    ValueError: If the file raises an error. The message is that of a ValueError
      that the file raises on purpose, or else names the line that failed.
  """
  name = f'rq_jax_experiment_{file.stem}'
  spec = importlib.util.spec_from_file_location(name, file)
  assert spec and spec.loader  # Always the case for a file named *.py.
  module = importlib.util.module_from_spec(spec)
  arguments = () if argument is None else (argument,)
  sys.modules[name] = module
  try:
    spec.loader.exec_module(module)
    config = module.get_config(*arguments)
  except Exception as error:  # The user's file may raise any error.
    raise ValueError(_reason(error, file, argument, given)) from error
  finally:
    del sys.modules[name]
  if not hasattr(config, 'to_dict'):
    raise ValueError(
        f'{given} has a get_config that returned a {type(config).__name__}, but'
        ' it must return a ConfigDict. Start from'
        ' rq_jax.config.template(stage=1), for example.'
    )
  return config


def _reason(
    error: Exception, file: pathlib.Path, argument: str | None, given: str
) -> str:
  """The message for an error in a configuration file, with its line."""
  frames = traceback.extract_tb(error.__traceback__)
  own = [frame for frame in frames if frame.filename == str(file)]
  if argument is not None and isinstance(error, TypeError) and not own:
    return _TAKES_NOTHING.format(given.partition('=')[0])
  if isinstance(error, AttributeError) and not own:
    return f'{given} has no function get_config. Add one to the file.'
  last = frames[-1]
  if isinstance(error, ValueError) and (
      last not in own or (last.line or '').startswith('raise')
  ):
    return str(error)  # The file, or a recipe that it calls, raised this.
  where = f' in line {own[-1].lineno}' if own else ''
  return f'{given} failed{where}: {type(error).__name__}: {error}.'
