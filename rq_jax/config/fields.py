"""One field of a configuration: its declaration, and the values it takes."""

import dataclasses
import math
import types
import typing
from typing import Any

from rq_jax import files

_ARTICLES = {int: 'an integer', float: 'a number', bool: 'True or False',
             str: 'a text', tuple: 'a tuple', list: 'a list',
             dict: 'a section', type(None): 'not set'}  # fmt: skip
# What arrays can be as long as, and steps can be counted to.
_LARGEST = 2**31 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Declaration:
  """What the call of `field` says of a field.

  Attributes:
    meaning: One line for people.
    choices: All values that are possible; empty for any.
    above: Every value must be greater than this; None for no such bound, as for
      the next three.
    at_least: No value may be less than this.
    below: Every value must be less than this.
    at_most: No value may be greater than this.
    because: Why no value may be greater than `at_most`, for the error.
    resumable: Whether a run may be resumed with another value.
    path: Whether it names a file or folder.
  """

  meaning: str
  choices: tuple[Any, ...] = ()
  above: float | None = None
  at_least: float | None = None
  below: float | None = None
  at_most: int | None = None
  because: str = ''
  resumable: bool = False
  path: bool = False


def field(default: Any, meaning: str, **declared: Any) -> Any:
  """Declares a field of a section.

  Args:
    default: Its value where nothing is set.
    meaning: One line for people.
    **declared: See `Declaration`.
  """
  declaration = Declaration(meaning=meaning, **declared)
  return dataclasses.field(
      default=default, metadata={'declaration': declaration}
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
  """A field as its annotation and its declaration describe it.

  Attributes:
    name: Dotted name within an experiment, such as 'data.path'.
    kind: Type of the value, or of each of several.
    default: Its default.
    single: Whether one value is possible.
    length: How many values a tuple has: None where none is possible, 0 for
      any number.
    optional: Whether it may be None.
    declaration: Meaning, bounds and choices.
  """

  name: str
  kind: type
  default: Any
  single: bool
  length: int | None
  optional: bool
  declaration: Declaration


def read_annotation(name: str, hint: Any, declared: dataclasses.Field) -> Field:
  """The field that an annotation and a declaration describe.

  Args:
    name: Its dotted name.
    hint: The annotation, such as `int | tuple[int, ...] | None`.
    declared: The field of the dataclass.
  """
  union = typing.get_origin(hint) in (typing.Union, types.UnionType)
  parts = typing.get_args(hint) if union else (hint,)
  tuples = [part for part in parts if typing.get_origin(part) is tuple]
  singles = [p for p in parts if p not in tuples and p is not type(None)]
  items = typing.get_args(tuples[0]) if tuples else ()
  length = None
  if tuples:
    length = 0 if items[-1] is Ellipsis else len(items)
  return Field(
      name=name,
      kind=singles[0] if singles else items[0],
      default=declared.default,
      single=bool(singles),
      length=length,
      optional=type(None) in parts,
      declaration=declared.metadata['declaration'],
  )


def checked(known: Field, value: Any) -> Any:
  """The value that a field takes on.

  Raises:
    ValueError: If it is not of the field's type, range or choices.
  """
  if value is None and known.optional:
    return None
  path, several = f'config.{known.name}', known.length is not None
  if several and isinstance(value, list | tuple):
    value = tuple(
        _typed(f'{path}[{i}]', known, item) for i, item in enumerate(value)
    )
    if known.length and len(value) != known.length:
      raise _refused(
          f'{path}={value}', f'must be {known.length} numbers', known
      )
  else:
    value = _typed(path, known, value)
  _check_range(known, value)
  choices = known.declaration.choices
  if choices and value not in choices:
    raise ValueError(f'{path}={value!r} is none of {choices}. Change --{path}.')
  return value


def _typed(path: str, known: Field, value: Any) -> Any:
  kind = known.kind
  single = known.single or path.endswith(']')
  if single and kind is float and type(value) is int:
    value = float(value)
  if not single or type(value) is not kind:
    raise _refused(
        f'{path}={value!r} is {_article(type(value))},',
        f'but must be {_article(kind if single else tuple)}',
        known,
    )
  if kind is float and not math.isfinite(value):
    raise _refused(f'{path}={value}', 'must be a finite number', known)
  if known.declaration.path:
    return files.path(value, f'--{path}')
  return value


def _check_range(known: Field, value: Any) -> None:
  declared = known.declaration
  numbers = value if isinstance(value, tuple) else (value,)
  if known.kind not in (int, float):
    return
  limit = declared.at_most
  if limit is None and known.kind is int:
    limit = _LARGEST
  holds = all(
      (declared.above is None or number > declared.above)
      and (declared.at_least is None or number >= declared.at_least)
      and (declared.below is None or number < declared.below)
      for number in numbers
  )
  if not holds:
    raise _refused(
        f'config.{known.name}={value}', f'must {bounds(known)}', known
    )
  if limit is not None and any(number > limit for number in numbers):
    because = f': {declared.because}' if declared.because else ''
    raise _refused(
        f'config.{known.name}={value}',
        f'must not exceed {limit}{because}',
        known,
    )


def bounds(known: Field) -> str:
  """The range of a field in words, after 'must'; '' if it has none."""
  declared = known.declaration
  low, high = declared.at_least, declared.below
  if declared.above == 0:
    return 'be positive'
  if low is not None and high is not None:
    return f'lie in [{low:g}, {high:g})'
  if low == 0:
    return 'not be negative'
  return '' if low is None else f'be at least {low:g}'


def _refused(was: str, required: str, known: Field) -> ValueError:
  return ValueError(f'{was} {required}. Change --config.{known.name}.')


def _article(kind: type) -> str:
  return _ARTICLES.get(kind, kind.__name__)
