"""Replaces examples that cannot be read, always in the same way."""

from collections.abc import Iterator
import contextlib
import dataclasses
from typing import Any

import numpy as np

from rq_jax.data import image_files
from rq_jax.data import sources

# Name of the entry that holds why an example replaces a broken one: a text, or
# None if the example itself could be read.
REASON = 'broken'


@dataclasses.dataclass(frozen=True)
class Replaced:
  """The examples of a source, without broken ones.

  If example i cannot be read, the first of the examples i + 1, i + 2, ... that
  can be read takes its place; after the last example, this continues with the
  first. So the replacement depends only on i and on the data.

  Attributes:
    source: The examples.
    max_errors: Reading gives up if more examples than this are broken in a row.
  """

  source: sources.Examples
  max_errors: int

  def __len__(self) -> int:
    """Number of examples, including broken ones."""
    return len(self.source)

  def __getitem__(self, index: int) -> dict[str, Any]:
    """An example; its entry `REASON` holds why it replaces another one.

    Raises:
      BrokenImageError: If there is no replacement.
    """
    length, reason = len(self.source), None
    for candidate in range(index, index + min(length, self.max_errors + 1)):
      try:
        example = self.source[candidate % length]
      except image_files.BrokenImageError as error:
        reason = reason or str(error)
        continue
      return {**example, REASON: np.array(reason, object)}
    if length <= self.max_errors:
      raise image_files.BrokenImageError(
          f'None of the {length} examples can be read. The first: {reason}'
      )
    raise image_files.BrokenImageError(
        f'{self.max_errors + 1} examples in a row cannot be read, and'
        f' --config.data.max_errors={self.max_errors} allows no more. The'
        f' first: {reason}'
    )


def replaced(
    source: sources.Examples, max_errors: int | None
) -> sources.Examples:
  """Examples without broken ones, or as they are if `max_errors` is None."""
  return source if max_errors is None else Replaced(source, max_errors)


def is_replacement(example: dict[str, Any]) -> bool:
  """Whether an example replaces a broken one."""
  return REASON in example and example[REASON].item() is not None


def without_reason(example: dict[str, Any]) -> dict[str, Any]:
  """An example that does not count as the replacement of another one."""
  if REASON not in example:
    return example
  return {**example, REASON: np.array(None, object)}


@contextlib.contextmanager
def advising(advice: str) -> Iterator[None]:
  """Appends a sentence to the error of an example that cannot be read."""
  try:
    yield
  except image_files.BrokenImageError as error:
    raise image_files.BrokenImageError(f'{error} {advice}') from None
