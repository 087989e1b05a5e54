"""The flags --config=FILE and --config.FIELD=VALUE of a command."""

from collections.abc import Sequence
import dataclasses
import re
from typing import Any

from absl import flags

from rq_jax import config as config_lib
from rq_jax.config import experiment as experiment_lib
from rq_jax.config import flags as texts
from rq_jax.config import reading
from rq_jax.config import reference
from rq_jax.config import schema

_FIELD = re.compile(r'--?(?P<no>no)?config\.(?P<name>[\w.]+)(=(?P<text>.*))?',
                    re.DOTALL)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Changes:
  """What --config.FIELD=VALUE flags set, as it was typed.

  Attributes:
    texts: (dotted name, text) pairs in order.
  """

  texts: tuple[tuple[str, str], ...] = ()


def define(values: flags.FlagValues, help_text: str) -> None:
  """Defines --config among the flags of a command."""
  flags.DEFINE_string('config', None, help_text, flag_values=values)


def split(argv: Sequence[str]) -> tuple[list[str], Changes]:
  """Takes the flags --config.FIELD out of a command line.

  A field that is True or False may stand alone, as `--config.data.flip` and
  `--noconfig.data.flip`.
  """
  rest, found = [], []
  words = iter(argv)
  for word in words:
    match = _FIELD.fullmatch(word)
    if match is None:
      rest.append(word)
      continue
    text = match['text']
    if match['no']:
      text = 'false'
    elif text is None:
      text = 'true' if _is_bool(match['name']) else next(words, '')
    found.append((match['name'], text))
  return rest, Changes(tuple(found))


def read(path: str, changes: Changes = Changes()) -> dict[str, Any]:
  """The plain values of a configuration file, with changes.

  Raises:
    ValueError: If there is no such file or field, or a text is no value of it.
  """
  config = reading.read(path)
  kind = experiment_lib.kind_of(config.to_dict())
  known = schema.walk(kind)
  values = {}
  for name, text in changes.texts:
    if name not in known:
      raise _unknown(kind, name)
    values[name] = texts.read(known[name], text)
    _set_reference(config, name, values[name])
  raw = config.to_dict()
  for name, value in values.items():
    *sections, field = name.split('.')
    section = raw
    for part in sections:
      section = section.setdefault(part, {})
    section[field] = value
  return raw


def list_fields(changes: Changes, values: flags.FlagValues) -> str:
  """The fields of the experiment --config with their values, for --help."""
  path = values.config
  if path is None:
    return 'Give --config=FILE, too, to list the fields of that experiment.'
  experiment = config_lib.parse(read(path, changes))
  return f'Fields of {path}:\n{reference.listing(experiment)}'


def _set_reference(config: Any, name: str, value: Any) -> None:
  """Sets a field of a ConfigDict, so that references to it follow."""
  *sections, field = name.split('.')
  section = config
  for part in sections:
    section = section.get(part, {})
  if field in section:
    section[field] = value


def _is_bool(name: str) -> bool:
  kinds = experiment_lib.KINDS.values()
  found = [schema.walk(kind).get(name) for kind in kinds]
  return any(known is not None and known.kind is bool for known in found)


def _unknown(kind: type, name: str) -> ValueError:
  """Says which field or section is meant."""
  section, _, field = name.rpartition('.')
  inner = schema.sections(kind)
  names = [*schema.table(kind), *inner]
  try:
    if name in inner:
      fields = ', '.join(
          f'--config.{name}.{f}' for f in schema.table(inner[name])
      )
      return ValueError(f'--config.{name} is a section. Set one of {fields}.')
    if section and section in inner:
      table = list(schema.table(inner[section]))
      schema.check_names({field: None}, table, f'{section}.')
    schema.check_names({name.partition('.')[0]: None}, names)
  except ValueError as error:
    return error
  return ValueError(f'Unknown field config.{name}.')
