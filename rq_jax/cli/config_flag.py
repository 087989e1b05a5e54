"""The flags --config=FILE and --config.FIELD=VALUE of a command."""

from collections.abc import Sequence
import re
from typing import Any, TypeAlias

from absl import flags

from rq_jax import config as config_lib
from rq_jax.config import experiment as experiment_lib
from rq_jax.config import reading
from rq_jax.config import reference
from rq_jax.config import schema
from rq_jax.config import texts

_FIELD = re.compile(r'--?(?P<no>no)?config\.(?P<name>[\w.]+)(=(?P<text>.*))?',
                    re.DOTALL)  # fmt: skip


# The --config.FIELD=VALUE flags in order, as typed: (dotted name, text).
Changes: TypeAlias = tuple[tuple[str, str], ...]


def define(values: flags.FlagValues, help_text: str) -> None:
  """Adds --config to the flags of a command."""
  flags.DEFINE_string('config', None, help_text, flag_values=values)


def split(argv: Sequence[str]) -> tuple[list[str], Changes]:
  """Splits the flags --config.FIELD off a command line.

  Fields that are True or False need no value: `--config.data.flip` and
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
    if match['no'] and text is None:
      text = 'false'
    elif match['no']:
      rest.append(word)  # No such flag exists; absl reports it.
      continue
    elif text is None:
      text = 'true' if _is_bool(match['name']) else next(words, '')
    found.append((match['name'], text))
  return rest, tuple(found)


def read(path: str, changes: Changes = ()) -> dict[str, Any]:
  """The plain values of a configuration file, with changes.

  Raises:
    ValueError: If there is no such file or field, or if a text is not a valid
      value of its field.
  """
  return changed(reading.read(path), changes)


def changed(config: Any, changes: Changes) -> dict[str, Any]:
  """The plain values of a ConfigDict, with changes; see `read`."""
  kind = experiment_lib.kind_of(config.to_dict())
  values = {
      name: texts.read(schema.require_field(kind, name), text)
      for name, text in changes
  }
  return reading.with_values(config, values)


def list_fields(changes: Changes, values: flags.FlagValues) -> str:
  """The fields of the experiment --config with their values, for --help."""
  path = values.config
  if path is None:
    return 'Give --config=FILE, too, to list the fields of that experiment.'
  raw = read(path, changes)
  unset = schema.unset(experiment_lib.kind_of(raw), raw)
  for name in unset:  # What a run would take is not known yet.
    section, _, field = name.partition('.')
    del raw[section][field]
  listed = reference.listing(config_lib.parse(raw), unset=unset)
  return f'Fields of {path}:\n{listed}'


def _is_bool(name: str) -> bool:
  kinds = experiment_lib.KINDS.values()
  found = [schema.walk(kind).get(name) for kind in kinds]
  return any(
      known is not None and (known.kind is bool or known.declaration.bools)
      for known in found
  )
