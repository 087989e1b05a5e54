"""One field of a configuration: its declaration and the values it accepts."""

from collections.abc import Mapping
import dataclasses
import math
import types
import typing
from typing import Any

from rq_jax import files

_ARTICLES = {int: 'an integer', float: 'a number',
             bool: 'a boolean (True or False)',
             str: 'a string', tuple: 'a tuple', list: 'a list',
             dict: 'a section', type(None): 'not set'}  # fmt: skip
# The largest int32: the limit for lengths of arrays and for numbers of steps.
_LARGEST = 2**31 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Declaration:
  """What a call of `field` declares about a field.

  Attributes:
    meaning: A short description for users, ending in a full stop.
    choices: All possible values; empty if any value of the type is possible.
    above: Every value must be greater than this; None for no bound.
    at_least: Every value must be at least this; None for no bound.
    below: Every value must be less than this; None for no bound.
    at_most: Every value must be at most this; None for no bound.
    because: The reason for `at_most`, printed in the error.
    resumable: Whether a run may be resumed with another value.
    path: Whether the value is the path of a file or folder.
    legacy: The value for runs that were stored before the field existed; None
      for the default of the field.
    words: Strings that are possible besides numbers, such as 'auto'.
    bools: Choices that True and False stand for, if the field was once a bool.
    inherited: Whether a configuration of stage 2 may set the field to None, to
      take it from the tokenizer or the data; see `training.inherit`.
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
  legacy: Any = None
  words: tuple[str, ...] = ()
  bools: Mapping[bool, str] = dataclasses.field(default_factory=dict)
  inherited: bool = False


def field(default: Any, meaning: str, **declared: Any) -> Any:
  """Declares a field of a section.

  Args:
    default: The value of the field if it is not set.
    meaning: A short description for users, ending in a full stop.
    **declared: Further attributes of the `Declaration`.
  """
  declaration = Declaration(meaning=meaning, **declared)
  return dataclasses.field(
      default=default, metadata={'declaration': declaration}
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
  """A field, as described by its annotation and its declaration.

  Attributes:
    name: Dotted name within an experiment, such as 'data.path'.
    kind: Type of the value; for a tuple, the type of its items.
    default: Default value.
    single: Whether the value may be a single one instead of a tuple.
    length: Length of the tuple: None if the value cannot be a tuple, 0 if the
      tuple may have any length.
    optional: Whether the value may be None.
    declaration: Meaning, bounds and choices of the field.
  """

  name: str
  kind: type
  default: Any
  single: bool
  length: int | None
  optional: bool
  declaration: Declaration


def read_annotation(name: str, hint: Any, declared: dataclasses.Field) -> Field:
  """Reads a field from its annotation and its declaration.

  Args:
    name: Dotted name of the field.
    hint: Annotation of the field, such as `int | tuple[int, ...] | None`.
    declared: The field of the dataclass.
  """
  union = typing.get_origin(hint) in (typing.Union, types.UnionType)
  parts = typing.get_args(hint) if union else (hint,)
  tuples = [part for part in parts if typing.get_origin(part) is tuple]
  singles = [p for p in parts if p not in tuples and p is not type(None)]
  items: tuple[Any, ...] = typing.get_args(tuples[0]) if tuples else ()
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
  """Checks a value and converts it to the type of the field.

  A number may stand for a tuple of fixed length that repeats it. Such a tuple
  becomes that number, so that equal settings are stored alike.

  Raises:
    ValueError: If the value has the wrong type, is out of range, or is not one
      of the choices.
  """
  if value is None and known.optional:
    return None
  if type(value) is str and value in known.declaration.words:
    return value
  if type(value) is bool:
    value = known.declaration.bools.get(value, value)
  if value is None and known.declaration.inherited:
    raise ValueError(
        f'config.{known.name}=None derives the value from the tokenizer and'
        ' the data, which are not read here. Set'
        f' --config.{known.name}, or complete the experiment with'
        ' `training.inherit.load`.'
    )
  path, several = f'config.{known.name}', known.length is not None
  if several and isinstance(value, list | tuple):
    value = tuple(
        _typed(f'{path}[{i}]', known, item) for i, item in enumerate(value)
    )
    if known.length and len(value) != known.length:
      raise _refused(
          f'{path}={value}', f'must be a tuple of {known.length} numbers', known
      )
    if known.single and known.length and len(set(value)) == 1:
      value = value[0]
  else:
    value = _typed(path, known, value)
  _check_range(known, value)
  choices = known.declaration.choices
  if choices and value not in choices:
    raise ValueError(
        f'{path}={value!r} is not one of {choices}. Change --{path}.'
    )
  return value


def _typed(path: str, known: Field, value: Any) -> Any:
  kind = known.kind
  single = known.single or path.endswith(']')
  if single and kind is float and type(value) is int:
    value = float(value)
  if not single or type(value) is not kind:
    words = ''.join(f' or {word!r}' for word in known.declaration.words)
    raise _refused(
        f'{path}={value!r} is {_article(type(value))},',
        f'but must be {_article(kind if single else tuple)}{words}',
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
  """The range of a field in words that follow 'must'; '' if it has no range."""
  declared = known.declaration
  low, high = declared.at_least, declared.below
  if declared.above == 0:
    return 'be positive'
  if low is not None and high is not None:
    return f'be in [{low:g}, {high:g})'
  if low == 0:
    return 'not be negative'
  return '' if low is None else f'be at least {low:g}'


def _refused(was: str, required: str, known: Field) -> ValueError:
  return ValueError(f'{was} {required}. Change --config.{known.name}.')


def _article(kind: type) -> str:
  return _ARTICLES.get(kind, kind.__name__)
