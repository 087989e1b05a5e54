"""Sections and experiments as frozen dataclasses, and how they are parsed.

A section is a frozen dataclass whose fields are declared with `fields.field`:

  @dataclasses.dataclass(frozen=True, kw_only=True)
  class Train(schema.Section, name='train'):
    steps: int | None = fields.field(
        None, 'Length of the run in steps.', above=0
    )

The annotation gives the type, and the call gives everything else. Checks, the
ConfigDict that configuration files fill in, command-line flags and
docs/config.md are derived from these declarations.
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
  """Declares a section of an experiment; it starts with all its defaults."""
  return dataclasses.field(default_factory=kind)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
  """Base class of sections. Creating a section checks its values.

  Integers become floats where floats are expected, and sequences become tuples.

  Raises:
    ValueError: If a value is not possible. The message names the field, what
      is possible, and the flag to change.
  """

  section: ClassVar[str] = ''

  def __init_subclass__(cls, *, name: str = '', **options: Any) -> None:
    """Records the name of the section; an experiment has the name ''."""
    super().__init_subclass__(**options)
    cls.section = name

  def __post_init__(self) -> None:
    """Checks every field; subclasses add rules that relate their fields."""
    for name, known in table(type(self)).items():
      object.__setattr__(self, name, fields.checked(known, getattr(self, name)))


@functools.cache
def table(kind: type) -> Mapping[str, Field]:
  """The fields of a section by name, without its nested sections."""
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
  """The sections of an experiment by name."""
  return {
      each.name: each.default_factory
      for each in dataclasses.fields(kind)
      if isinstance(each.default_factory, type)
  }


def parse(kind: type, raw: Mapping[str, Any], prefix: str = '') -> Any:
  """Creates a section, or an experiment with its sections, from plain values.

  Args:
    kind: The dataclass to create.
    raw: Values by name, sections as mappings. Missing values take defaults.
    prefix: Dotted name of the section, followed by a dot.

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


def with_legacy(kind: type, raw: Mapping[str, Any]) -> dict[str, Any]:
  """Adds fields to the plain values of a run that was stored without them.

  Only fields that declare a value for such runs are added.
  """
  filled = dict(raw)
  for name, known in walk(kind).items():
    section, _, field = name.rpartition('.')
    value = known.declaration.legacy
    if value is None or not isinstance(filled.get(section, {}), Mapping):
      continue
    if section:
      filled[section] = {field: value, **filled.get(section, {})}
    else:
      filled.setdefault(field, value)
  return filled


def check_sections(kind: type, raw: Mapping[str, Any]) -> None:
  """Checks that the sections of an experiment are mappings.

  Raises:
    ValueError: If a section is anything else. The message names the section
      and its fields.
  """
  for name, section in sections(kind).items():
    _check_mapping(section, raw.get(name, {}), name)


def _check_mapping(kind: type, raw: Any, name: str) -> None:
  if not isinstance(raw, Mapping):
    known = sorted(each.name for each in dataclasses.fields(kind))
    raise ValueError(
        f'config.{name}={raw!r} must be a section with the fields'
        f' {", ".join(known)}. Change --config.{name}.'
    )


def check_names(
    given: Mapping[str, Any], known: list[str], prefix: str = ''
) -> None:
  """Checks that all names are names of fields.

  Args:
    given: Values by name.
    known: Names of all fields.
    prefix: Dotted name of the section, followed by a dot.

  Raises:
    ValueError: If a name is unknown. The message suggests the nearest name.
  """
  for name in given:
    if name not in known:
      close = difflib.get_close_matches(str(name), known, n=1)
      hint = f'Did you mean --config.{prefix}{close[0]}? ' if close else ''
      raise ValueError(
          f'Unknown field config.{prefix}{name}. {hint}Possible fields are'
          f' {", ".join(sorted(known))}.'
      )


def require_field(kind: type, name: str) -> Field:
  """The field with a dotted name.

  Raises:
    ValueError: If there is no such field. The message suggests a field.
  """
  known = walk(kind)
  if name in known:
    return known[name]
  inner = sections(kind)
  if name in inner:
    own = ', '.join(f'--config.{name}.{field}' for field in table(inner[name]))
    raise ValueError(
        f'--config.{name} is a section, not a field. Set one of {own}.'
    )
  first, _, field = name.partition('.')
  if first in inner:
    check_names({field: None}, list(table(inner[first])), f'{first}.')
  check_names({first: None}, [*table(kind), *inner])
  raise ValueError(
      f'Unknown field config.{name}: {first} is a field, not a section. Set'
      f' --config.{first}.'
  )


def walk(kind: type) -> dict[str, Field]:
  """All fields by dotted name, the experiment's own before its sections'."""
  found = {known.name: known for known in table(kind).values()}
  for inner in sections(kind).values():
    found |= {known.name: known for known in table(inner).values()}
  return found


def unset(kind: type, raw: Mapping[str, Any]) -> list[str]:
  """Inherited fields that the plain values of an experiment set to None."""
  found = []
  for name, known in walk(kind).items():
    section, _, field = name.rpartition('.')
    value = raw.get(section, {}).get(field, known.default)
    if known.declaration.inherited and value is None:
      found.append(name)
  return found


def flatten(config: Section, prefix: str = '') -> dict[str, Any]:
  """The values of an experiment or a section by dotted name."""
  flat = {}
  for name, value in vars(config).items():
    if isinstance(value, Section):
      flat |= flatten(value, f'{prefix}{name}.')
    else:
      flat[prefix + name] = value
  return flat
