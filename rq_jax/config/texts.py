"""Values of fields as people type them on a command line."""

import ast
from typing import Any

from rq_jax.config import fields

_UNSET = ('', 'None', 'none')
_BOOLS = {'true': True, 't': True, '1': True, 'yes': True,
          'false': False, 'f': False, '0': False, 'no': False}  # fmt: skip
_EXAMPLES = {int: '8', float: '0.5', bool: 'true'}


def read(known: fields.Field, text: str) -> Any:
  """The value of a field that a text stands for.

  'None' and the empty text unset fields that may be unset. Tuples are written
  as `8,8,4` or `(8, 8, 4)`.

  Args:
    known: The field.
    text: What was typed after `--config.NAME=`.

  Raises:
    ValueError: If it stands for no such value.
  """
  if known.optional and text.strip() in _UNSET:
    return None
  if known.kind is str:
    return text
  try:
    return _number_or_tuple(known, text.strip())
  # What `ast.literal_eval` raises of texts that are no values.
  except (
      ValueError,
      SyntaxError,
      KeyError,
      TypeError,
      MemoryError,
      RecursionError,
  ) as error:
    raise ValueError(
        f'--config.{known.name}={text} is not {describe(known)}, such as'
        f' --config.{known.name}={example(known)}.'
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
  """What a field holds, in words: 'an integer or a tuple of integers'."""
  names = {int: 'integer', float: 'number', str: 'text', bool: ''}
  one = 'True or False'
  if known.declaration.path:
    one = 'a path'
  elif known.kind is not bool:
    article = 'an' if known.kind is int else 'a'
    one = f'{article} {names[known.kind]}'
  if known.length is None:
    return one
  count = f'{known.length} ' if known.length else ''
  several = f'a tuple of {count}{names[known.kind]}s'
  return f'{one} or {several}' if known.single else several


def example(known: fields.Field) -> str:
  """A value of a field as it is typed."""
  if isinstance(known.default, tuple) and known.default:
    return ','.join(map(str, known.default))
  if known.default is None or known.default == ():
    return _EXAMPLES.get(known.kind, 'TEXT')
  return str(known.default)
