"""Sections and experiments as frozen dataclasses, and what follows from them.

A section is a frozen dataclass whose fields are declared with `fields.field`:

  @dataclasses.dataclass(frozen=True, kw_only=True)
  class Train(schema.Section, name='train'):
    steps: int | None = fields.field(
        None, 'Length of the run in steps; or set epochs.', above=0
    )

The annotation gives the type; everything else stands in the call. Checks, the
ConfigDict that configuration files set, command-line flags and docs/config.md
follow from these declarations.
"""

from collections.abc import Mapping
import dataclasses
import difflib
import functools
import typing
from typing import Any, ClassVar

from rq_jax.config import fields
from rq_jax.config.fields import Field


def nested(kind: type) -> Any:
  """Declares a section within an experiment: one with all its defaults."""
  return dataclasses.field(default_factory=kind)


class Section:
  """Base class of sections: values are checked when one is made.

  Integers become floats where those are expected, sequences become tuples.

  Raises:
    ValueError: Naming the field, what is possible, and the flag to change.
  """

  section: ClassVar[str] = ''

  def __init_subclass__(cls, *, name: str = '', **options: Any) -> None:
    """Records the name of the section; '' for an experiment itself."""
    super().__init_subclass__(**options)
    cls.section = name

  def __post_init__(self) -> None:
    """Checks every field; subclasses add the rules between their fields."""
    for name, known in table(type(self)).items():
      object.__setattr__(self, name, fields.checked(known, getattr(self, name)))


@functools.cache
def table(kind: type) -> Mapping[str, Field]:
  """The fields of a section by their names, without sections in it."""
  hints = typing.get_type_hints(kind)
  prefix = f'{kind.section}.' if kind.section else ''
  return {
      each.name: fields.read_annotation(
          prefix + each.name, hints[each.name], each
      )
      for each in dataclasses.fields(kind)
      if 'declaration' in each.metadata
  }


def sections(kind: type) -> Mapping[str, type]:
  """The sections of an experiment by their names."""
  return {
      each.name: each.default_factory
      for each in dataclasses.fields(kind)
      if isinstance(each.default_factory, type)
  }


def parse(kind: type, raw: Mapping[str, Any], prefix: str = '') -> Any:
  """Makes a section, or an experiment with its sections, of plain values.

  Args:
    kind: The dataclass.
    raw: Values by name, sections as mappings; those left out take defaults.
    prefix: Dotted name of the section, with a dot behind it.

  Raises:
    ValueError: If a name is unknown or a value is not possible.
  """
  inner = sections(kind)
  names = [each.name for each in dataclasses.fields(kind)]
  _check_mapping(kind, raw, prefix.removesuffix('.'))
  check_names(raw, names, prefix)
  values = {}
  for name in names:
    if name not in raw:
      continue
    value = raw[name]
    if name in inner:
      value = parse(inner[name], value, f'{name}.')
    values[name] = value
  return kind(**values)


def check_sections(kind: type, raw: Mapping[str, Any]) -> None:
  """Refuses values in the place of sections of an experiment.

  Raises:
    ValueError: Naming the section and its fields.
  """
  for name, section in sections(kind).items():
    _check_mapping(section, raw.get(name, {}), name)


def _check_mapping(kind: type, raw: Any, name: str) -> None:
  if not isinstance(raw, Mapping):
    known = sorted(each.name for each in dataclasses.fields(kind))
    raise ValueError(
        f'config.{name}={raw!r} must be a section, with fields'
        f' {", ".join(known)}. Change --config.{name}.'
    )


def check_names(
    given: Mapping[str, Any], known: list[str], prefix: str = ''
) -> None:
  """Refuses names that are no fields.

  Args:
    given: Values by name.
    known: The names there are.
    prefix: Dotted name of the section, with a dot behind it.

  Raises:
    ValueError: With the nearest name there is.
  """
  for name in given:
    if name not in known:
      close = difflib.get_close_matches(str(name), known, n=1)
      hint = f'Did you mean --config.{prefix}{close[0]}? ' if close else ''
      raise ValueError(
          f'Unknown field config.{prefix}{name}. {hint}Possible are'
          f' {", ".join(sorted(known))}.'
      )


def require_field(kind: type, name: str) -> Field:
  """The field of a dotted name.

  Raises:
    ValueError: If there is none; says which field or section may be meant.
  """
  known = walk(kind)
  if name in known:
    return known[name]
  inner = sections(kind)
  if name in inner:
    own = ', '.join(f'--config.{name}.{field}' for field in table(inner[name]))
    raise ValueError(f'--config.{name} is a section. Set one of {own}.')
  first, _, field = name.partition('.')
  if first in inner:
    check_names({field: None}, list(table(inner[first])), f'{first}.')
  check_names({first: None}, [*table(kind), *inner])
  raise ValueError(f'Unknown field config.{name}: {first} is no section.')


def walk(kind: type) -> dict[str, Field]:
  """All fields of an experiment by dotted name, its own first."""
  found = {known.name: known for known in table(kind).values()}
  for inner in sections(kind).values():
    found |= {known.name: known for known in table(inner).values()}
  return found


def flatten(config: Section, prefix: str = '') -> dict[str, Any]:
  """Values of an experiment or a section by dotted name."""
  flat = {}
  for name, value in vars(config).items():
    if isinstance(value, Section):
      flat |= flatten(value, f'{prefix}{name}.')
    else:
      flat[prefix + name] = value
  return flat
