"""Classes by name: finds the labels of names, or suggests the nearest name."""

from collections.abc import Sequence
import difflib
from typing import Any

import numpy as np

_SHOWN = 10  # Names in a message.


def numbers(
    given: Any, names: Sequence[str] | None, *, argument: str = 'labels'
) -> Any:
  """Replaces names of classes by labels.

  Args:
    given: Labels of a call: numbers, names, or both. Numbers stay as they are.
    names: Names of the classes by label; None if they are unknown.
    argument: Name of the argument or flag, for errors.

  Returns:
    The labels as numbers; `given` if it holds no names.

  Raises:
    ValueError: If there is no class of a name.
  """
  if isinstance(given, np.ndarray) and given.dtype.kind in 'UO':
    given = given.tolist()
  if not isinstance(given, list | tuple):
    return given
  by_name = {name: label for label, name in enumerate(names or ())}
  for label in given:
    if isinstance(label, str) and label not in by_name:
      raise ValueError(_unknown(label, names, argument))
  return [by_name[n] if isinstance(n, str) else n for n in given]


def _unknown(name: str, names: Sequence[str] | None, argument: str) -> str:
  """The message about a name that is not the name of a class."""
  if not names:
    return (
        f'{argument}={name!r} is a name, but this model has no classes.json'
        ' with the names of its classes. Give numbers.'
    )
  lowered = [known.lower() for known in names]
  near = _nearest(name.lower(), lowered)
  if near is None:
    more = ', ...' if len(names) > _SHOWN else ''
    hint = f'The classes are {", ".join(names[:_SHOWN])}{more}.'
  else:
    hint = f'Did you mean {names[near]!r}, which has the number {near}?'
    if ',' in names[near]:
      hint += ' On the command line, give names with commas by their number.'
  return (
      f'{argument}={name!r} is not the name of a class of this model. {hint}'
      ' Give names or numbers of classes.'
  )


def _nearest(name: str, names: list[str]) -> int | None:
  """The first name that contains another text, or else the most similar one."""
  for label, known in enumerate(names):
    if name in known:
      return label
  close = difflib.get_close_matches(name, names, n=1)
  return names.index(close[0]) if close else None
