"""Parses field values as they are typed on a command line."""

import ast
from typing import Any

from rq_jax.config import fields

_UNSET = ('', 'None', 'none')
_BOOLS = {'true': True, 't': True, '1': True, 'yes': True,
          'false': False, 'f': False, '0': False, 'no': False}  # fmt: skip
_EXAMPLES = {int: '8', float: '0.5', bool: 'true'}


def read(known: fields.Field, text: str) -> Any:
  """Parses the value of a field from text.

  'None' and the empty string unset an optional field. Tuples are written as
  `8,8,4` or `(8, 8, 4)`.

  Args:
    known: The field.
    text: The text after `--config.NAME=`.

  Raises:
    ValueError: If the text cannot be parsed as a value of the field's type.
  """
  may_be_unset = known.optional or known.declaration.inherited
  if may_be_unset and text.strip() in _UNSET:
    return None
  if text.strip() in known.declaration.words:
    return text.strip()
  if known.declaration.bools:
    return _BOOLS.get(text.strip().lower(), text)
  if known.kind is str:
    return text
  try:
    return _number_or_tuple(known, text.strip())
  # All errors that `ast.literal_eval` raises for malformed input.
  except (
      ValueError,
      SyntaxError,
      KeyError,
      TypeError,
      MemoryError,
      RecursionError,
  ) as error:
    raise ValueError(
        f'--config.{known.name}={text} is not {describe(known)}. Write, for'
        f' example, --config.{known.name}={example(known)}.'
    ) from error


def _number_or_tuple(known: fields.Field, text: str) -> Any:
  several = text.startswith(('(', '[')) or ',' in text
  if several or not known.single:
    if known.length is None:
      raise ValueError
    value = ast.literal_eval(text)
    return tuple(value) if isinstance(value, list | tuple) else (value,)
  if known.kind is bool:
    return _BOOLS[text.lower()]
  return known.kind(text)


def describe(known: fields.Field) -> str:
  """The type of a field in words: 'an integer or a tuple of integers'."""
  names = {int: 'integer', float: 'number', str: 'string', bool: ''}
  one = 'True or False'
  if known.declaration.path:
    one = 'a path'
  elif known.kind is not bool:
    article = 'an' if known.kind is int else 'a'
    one = f'{article} {names[known.kind]}'
    one += ''.join(f' or {word!r}' for word in known.declaration.words)
  if known.length is None:
    return one
  count = f'{known.length} ' if known.length else ''
  several = f'a tuple of {count}{names[known.kind]}s'
  return f'{one} or {several}' if known.single else several


def example(known: fields.Field) -> str:
  """An example value of a field, as you would type it."""
  if isinstance(known.default, tuple) and known.default:
    return ','.join(map(str, known.default))
  if known.default is None or known.default == ():
    return _EXAMPLES.get(known.kind, 'TEXT')
  return str(known.default)
