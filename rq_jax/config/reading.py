"""Configuration files: Python with `get_config`, or the JSON of a run."""

from collections.abc import Mapping
import importlib.util
import json
import os
import pathlib
import sys
import traceback
from typing import Any

from rq_jax.config import experiment as experiment_lib
from rq_jax.config import models

_RUN = 'config.json'


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
  config = read(path)
  for name, value in (overrides or {}).items():
    config.update_from_flattened_dict({name: value})
  return experiment_lib.check(config.to_dict(), with_data=with_data)


def load_model(path: str) -> models.RQVAEConfig | models.RQTransformerConfig:
  """The description of the network of a configuration file.

  Args:
    path: See `read`.

  Raises:
    ValueError: If there is no such file, or its network cannot be built.
  """
  return experiment_lib.parse_model(read(path).to_dict())


def read(path: str) -> Any:
  """The ConfigDict of a configuration file, neither parsed nor checked.

  Args:
    path: A Python file, `FILE:ARGUMENT` to hand its `get_config` an argument;
      the config.json of a run, or the run's folder.

  Raises:
    ValueError: If there is no such file, or it gives no experiment.
  """
  file, argument = split(path)
  if file.is_dir():
    file = file / _RUN
    if not file.is_file():
      raise ValueError(
          f'--config={path} is a folder without a {_RUN}. Give a configuration'
          ' file, or the folder of a run.'
      )
  if file.suffix == '.json':
    return _from_json(file, path)
  if file.suffix != '.py':
    raise ValueError(
        f'--config={path} is neither a Python file with a function get_config'
        f' nor the {_RUN} of a run. Give one of these.'
    )
  return _from_python(file, argument, path)


def split(path: str) -> tuple[pathlib.Path, str | None]:
  """The file that a --config names, and what stands behind its last colon.

  Names of files and folders may have colons, too.

  Raises:
    ValueError: If there is no such file.
  """
  if not path.strip():
    raise ValueError('--config is empty. Give a configuration file.')
  path = os.path.expanduser(path)
  if os.path.exists(path):
    return pathlib.Path(path), None
  file, colon, argument = path.rpartition(':')
  while colon and not os.path.exists(file):
    file, colon, rest = file.rpartition(':')
    argument = f'{rest}:{argument}'
  if not colon:
    missing = path.partition('.py:')
    shown = f'{missing[0]}.py' if missing[1] else path
    raise ValueError(f'--config={path}: there is no file {shown}.')
  return pathlib.Path(file), argument


def _from_json(file: pathlib.Path, path: str) -> Any:
  """The experiment of a run, as a template that is filled in."""
  try:
    raw = json.loads(file.read_text())
  except (ValueError, OSError) as error:
    raise ValueError(
        f'--config={path} cannot be read as JSON: {error}.'
    ) from error
  if not isinstance(raw, dict):
    raise ValueError(f'--config={path} is no experiment, but a list or value.')
  known = experiment_lib.parse(raw)
  config = experiment_lib.template(known.stage)
  config.update(experiment_lib.to_dict(known))
  return config


def _from_python(file: pathlib.Path, argument: str | None, path: str) -> Any:
  """What `get_config` of a file returns.

  Raises:
    ValueError: With what the file itself refused, or with the line that failed.
  """
  name = f'rq_jax_experiment_{file.stem}'
  spec = importlib.util.spec_from_file_location(name, file)
  module = importlib.util.module_from_spec(spec)
  given = () if argument is None else (argument,)
  sys.modules[name] = module
  try:
    spec.loader.exec_module(module)
    config = module.get_config(*given)
  except ValueError:
    raise
  except Exception as error:  # Whatever a file of the user may raise.
    raise ValueError(_reason(error, file, argument, path)) from error
  finally:
    del sys.modules[name]
  if not hasattr(config, 'to_dict'):
    raise ValueError(
        f'--config={path}: get_config returned a {type(config).__name__}, but'
        ' must return a ConfigDict, such as rq_jax.config.template(stage=1).'
    )
  return config


def _reason(
    error: Exception, file: pathlib.Path, argument: str | None, path: str
) -> str:
  frames = traceback.extract_tb(error.__traceback__)
  own = [frame for frame in frames if frame.filename == str(file)]
  if argument is not None and isinstance(error, TypeError) and not own:
    return 'This --config takes nothing after its name: leave out the colon.'
  if isinstance(error, AttributeError) and not own:
    return f'--config={path} has no function get_config.'
  where = f' in line {own[-1].lineno}' if own else ''
  return f'--config={path} failed{where}: {type(error).__name__}: {error}.'
