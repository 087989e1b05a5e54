"""Configuration files: Python with `get_config`, or the JSON of a run."""

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
_TAKES_NOTHING = 'This {} takes nothing after its name: leave out the colon.'


def load(
    path: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    with_data: bool = True,
) -> experiment_lib.Experiment:
  """Reads a configuration file, sets fields by dotted name, and checks it.

  Args:
    path: See `read`.
    overrides: Values by dotted name, such as 'data.path'.
    with_data: See `experiment.check`.

  Raises:
    ValueError: If there is no such file, or its experiment cannot be trained.
  """
  raw = with_values(read(path), overrides or {})
  return experiment_lib.check(raw, with_data=with_data)


def with_values(config: Any, values: Mapping[str, Any]) -> dict[str, Any]:
  """The plain values of a ConfigDict, some fields set by dotted name.

  What a file derives from a field by a reference follows it.

  Raises:
    ValueError: If there is no such field, or it takes no such value.
  """
  raw = config.to_dict()
  kind = experiment_lib.kind_of(raw)
  schema.check_sections(kind, raw)
  for name, value in values.items():
    fields.checked(schema.require_field(kind, name), value)
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
  """Sets a field that others refer to; plain ones are set later."""
  *sections, field = names
  for part in sections:
    config = config.get(part, {})
  if field in config and hasattr(config, 'ignore_type'):
    with config.ignore_type():
      config[field] = value


def load_model(
    path: str, *, flag: str = '--config'
) -> models.RQVAEConfig | models.RQTransformerConfig:
  """The description of the network of a configuration file.

  Args:
    path: See `read`.
    flag: See `read`.

  Raises:
    ValueError: If there is no such file, or its network cannot be built.
  """
  return experiment_lib.parse_model(read(path, flag=flag).to_dict())


def read(path: str, *, flag: str = '--config') -> Any:
  """The ConfigDict of a configuration file, neither parsed nor checked.

  Args:
    path: A Python file, `FILE:ARGUMENT` to hand its `get_config` an argument;
      the config.json of a run, or the run's folder.
    flag: What errors call the path.

  Raises:
    ValueError: If there is no such file, or it gives no experiment.
  """
  file, argument = split(path, flag=flag)
  given = f'{flag}={path}'
  if file.is_dir():
    file = file / _RUN
    if not file.is_file():
      raise ValueError(
          f'{given} is a folder without a {_RUN}. Give a configuration file, or'
          ' the folder of a run.'
      )
  if file.suffix == '.json':
    if argument is not None:
      raise ValueError(_TAKES_NOTHING.format(flag))
    return _from_json(file)
  if file.suffix != '.py':
    raise ValueError(
        f'{given} is neither a Python file with a function get_config nor the'
        f' {_RUN} of a run. Give one of these.'
    )
  return _from_python(file, argument, given)


def split(
    path: str, *, flag: str = '--config'
) -> tuple[pathlib.Path, str | None]:
  """The file that a path names, and what stands behind its last colon.

  Names of files and folders may have colons, too.

  Args:
    path: See `read`.
    flag: What errors call the path.

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
    raise ValueError(f'{flag}={path}: there is no file {missing}.')
  return pathlib.Path(file), argument


def _from_json(file: pathlib.Path) -> Any:
  """The experiment of a run, as a template that is filled in."""
  known = experiment_lib.parse(files.read_json_object(file))
  config = experiment_lib.template(known.stage)
  config.update(experiment_lib.to_dict(known))
  return config


def _from_python(file: pathlib.Path, argument: str | None, given: str) -> Any:
  """What `get_config` of a file returns.

  Raises:
    ValueError: With what the file itself refused, or with the line that failed.
  """
  name = f'rq_jax_experiment_{file.stem}'
  spec = importlib.util.spec_from_file_location(name, file)
  assert spec and spec.loader  # For the name of a Python file.
  module = importlib.util.module_from_spec(spec)
  arguments = () if argument is None else (argument,)
  sys.modules[name] = module
  try:
    spec.loader.exec_module(module)
    config = module.get_config(*arguments)
  except Exception as error:  # Whatever a file of the user may raise.
    raise ValueError(_reason(error, file, argument, given)) from error
  finally:
    del sys.modules[name]
  if not hasattr(config, 'to_dict'):
    raise ValueError(
        f'{given}: get_config returned a {type(config).__name__}, but must'
        ' return a ConfigDict, such as rq_jax.config.template(stage=1).'
    )
  return config


def _reason(
    error: Exception, file: pathlib.Path, argument: str | None, given: str
) -> str:
  """What went wrong in a configuration file, and where."""
  frames = traceback.extract_tb(error.__traceback__)
  own = [frame for frame in frames if frame.filename == str(file)]
  if argument is not None and isinstance(error, TypeError) and not own:
    return _TAKES_NOTHING.format(given.partition('=')[0])
  if isinstance(error, AttributeError) and not own:
    return f'{given} has no function get_config.'
  last = frames[-1]
  if isinstance(error, ValueError) and (
      last not in own or (last.line or '').startswith('raise')
  ):
    return str(error)  # A refusal of the file itself, or of a recipe.
  where = f' in line {own[-1].lineno}' if own else ''
  return f'{given} failed{where}: {type(error).__name__}: {error}.'
