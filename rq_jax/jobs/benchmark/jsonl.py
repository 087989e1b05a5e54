"""Prints the records of a benchmark as lines of JSON, and appends to a file."""

from collections.abc import Callable, Iterator
import contextlib
import json
from typing import Any

from rq_jax.distributed import console


@contextlib.contextmanager
def writer(path: str | None) -> Iterator[Callable[[Any], None]]:
  """Yields a function that prints a record and appends it to a file, if any.

  Raises:
    OSError: If the file cannot be written.
  """
  with contextlib.ExitStack() as stack:
    file = stack.enter_context(open(path, 'a')) if path else None

    def write(record: Any) -> None:
      line = json.dumps(record)
      console.tell(line)
      if file:
        file.write(f'{line}\n')
        file.flush()

    yield write
