"""Reads which classes of a classifier belong to each class of a generator."""

from collections.abc import Sequence
import json
from typing import Any

from etils import epath

from rq_jax import files

_FLAG = '--classifier_classes'


def read(
    path: epath.PathLike,
    class_names: Sequence[str] | None,
    num_classes: int,
    *,
    known: int,
) -> tuple[tuple[int, ...], ...]:
  """Reads the file of --classifier_classes.

  The file holds a JSON object, {class: [numbers]}: for each class of the
  generator, by its name or its number, the numbers of the classifier's classes
  that it contains, such as {"cat": [281, 282, 285], "1": [967]}. Two classes of
  the generator may share a class of the classifier.

  Args:
    path: The file.
    class_names: Names of the generator's classes by label; None if they are
      unknown, and only numbers can be given.
    num_classes: Number of the generator's classes.
    known: Number of the classifier's classes.

  Returns:
    The numbers of the classifier's classes, for each label of the generator.

  Raises:
    ValueError: If the file cannot be read as such an object, names a class that
      does not exist, or lacks one.
  """
  entries = _entries(files.path(path, _FLAG))
  found: dict[int, tuple[int, ...]] = {}
  for key, numbers in entries:
    label = _label(key, class_names, num_classes)
    if label in found:
      raise _refusal(
          f'has two entries for class {label}, the second as {json.dumps(key)}.'
          ' Keep one'
      )
    found[label] = _checked(key, numbers, known)
  if missing := [i for i in range(num_classes) if i not in found]:
    named = [class_names[i] if class_names else str(i) for i in missing[:8]]
    more = len(missing) - len(named)
    raise _refusal(
        f'lacks {len(missing)} of the {num_classes} classes of the generator:'
        f' {", ".join(named)}{f" and {more} more" if more else ""}. Add them'
    )
  return tuple(found[i] for i in range(num_classes))


def _entries(path: str) -> list[tuple[str, Any]]:
  """The entries of the object in a file, also those with equal names."""
  try:
    # Objects as lists: a dict would drop entries with equal names.
    value = json.loads(epath.Path(path).read_text(), object_pairs_hook=_Entries)
  except OSError as error:
    raise ValueError(
        f'{_FLAG}={path} cannot be read ({error.strerror}). Check the path.'
    ) from error
  except ValueError as error:  # The file is not JSON, or not even text.
    raise ValueError(f'{_FLAG}={path} is not JSON: {error}.') from error
  if not isinstance(value, _Entries):
    raise _refusal('must hold an object, {class: [numbers]}. Change it')
  return value


class _Entries(list):
  """The entries of a JSON object."""


def _label(
    key: str, class_names: Sequence[str] | None, num_classes: int
) -> int:
  """The label of the class with a name, or else with a number."""
  named = [i for i, name in enumerate(class_names or ()) if name == key]
  if len(named) == 1:
    return named[0]
  if key.isascii() and key.isdigit() and int(key) < num_classes:
    return int(key)
  names = 'only ' if class_names is None else 'names or '
  raise _refusal(
      f'has an entry {json.dumps(key)}, which is no class of the generator. Use'
      f' {names}numbers from 0 to {num_classes - 1}'
  )


def _checked(key: str, numbers: Any, known: int) -> tuple[int, ...]:
  """The numbers of an entry, if they are classes of the classifier."""
  valid = isinstance(numbers, list) and all(
      type(n) is int and 0 <= n < known for n in numbers
  )
  if not valid or not numbers or len(set(numbers)) < len(numbers):
    raise _refusal(
        f'must have a list of different numbers from 0 to {known - 1} for'
        f' {json.dumps(key)}. Change the entry'
    )
  return tuple(numbers)


def _refusal(problem: str) -> ValueError:
  return ValueError(f'The file of {_FLAG} {problem}.')
