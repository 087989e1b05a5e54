"""Reads the description beside a file of weights.

Official checkpoints have a `config.yaml` beside them. Models that the official
code cannot build are exported with our own `config.json` instead.
"""

import os
import pathlib
from typing import Any

import yaml

from rq_jax.checkpoints import stored
from rq_jax.conversion import tarball
from rq_jax.conversion.configs import reader

_MAX_DEPTH = 32
_MAX_TEXT = 4096


def find(weights: pathlib.Path) -> pathlib.Path:
  """The `config.yaml` beside a file, or our `config.json` if only that is."""
  official = weights.with_name('config.yaml')
  own = weights.with_name('config.json')
  return own if own.is_file() and not official.exists() else official


def stage(config: pathlib.Path) -> int:
  """The stage that a file of `find` describes, 1 or 2.

  Raises:
    ValueError: If it describes neither stage.
  """
  if config.suffix == '.json':
    return stored.read_config(config.parent).stage
  return reader.stage_of(read_yaml(config), str(config))


def read(config: pathlib.Path) -> reader.Description:
  """Reads a file of `find`.

  Raises:
    ValueError: If the file is missing or damaged, or describes a model that
      cannot be built.
  """
  if config.suffix == '.json':
    # Whether there is a discriminator, only the names of the weights show.
    experiment = stored.read_config(config.parent)
    return reader.Description(experiment, experiment.stage == 1, ())
  if not config.exists():
    raise ValueError(
        f'{config} is missing, so the architecture of the weights is unknown.'
        ' Put the config.yaml that was released with the weights there.'
    )
  return reader.read(read_yaml(config), str(config))


def read_yaml(path: str | os.PathLike) -> dict[str, Any]:
  """Reads a `config.yaml`: dicts, lists, strings and numbers.

  Raises:
    ValueError: If the file is not YAML, or is too large or too complex for such
      a config.
  """
  with open(path, 'rb') as file:
    text = file.read(tarball.MAX_CONFIG + 1)
  config = None
  problem = f'it has more than {tarball.MAX_CONFIG} bytes'
  if len(text) <= tarball.MAX_CONFIG:
    try:
      problem = _trap(text)
      config = None if problem else yaml.safe_load(text)
    # Impossible dates and numbers raise errors of many other types.
    except Exception as error:
      problem = ' '.join(str(error).split())
  if not isinstance(config, dict):
    raise ValueError(
        f'{path} is not a config of an official checkpoint:'
        f' {problem or "it holds no dict"}. Use the config that came with the'
        ' checkpoint.'
    )
  return config


def _trap(text: bytes) -> str | None:
  """Why a small text would be slow to parse or deeply nested, or None."""
  depth = 0
  for event in yaml.parse(text, yaml.SafeLoader):
    if isinstance(event, yaml.AliasEvent):
      return 'it refers back to a part of itself'
    if len(getattr(event, 'value', '')) > _MAX_TEXT:
      return f'it holds a text of more than {_MAX_TEXT} characters'
    depth += isinstance(event, yaml.CollectionStartEvent)
    depth -= isinstance(event, yaml.CollectionEndEvent)
    if depth > _MAX_DEPTH:
      return f'it is nested more than {_MAX_DEPTH} levels deep'
  return None
