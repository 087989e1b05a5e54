"""Progress bars that can fail without stopping the work they show."""

from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
import contextlib
import os
import sys
from typing import Any

import tqdm

# Work that takes longer shows a bar, if it is not always long.
SHOWN_AFTER_S = 3
# Items that wait for threads; there may be millions.
_AT_ONCE = 4096


def bar(**options: Any) -> tqdm.tqdm:
  """A tqdm bar on the standard error; see `tqdm.tqdm` for the options.

  If the terminal is closed, or the program at the other end of a pipe has
  ended, the bar silently stops printing.
  """
  return tqdm.tqdm(file=_Unfailing(sys.stderr), **options)


def aside() -> contextlib.AbstractContextManager[None]:
  """Takes bars off the standard error while other text is written there.

  Otherwise, the text would start on the line of a bar.
  """
  return tqdm.tqdm.external_write_mode(file=_Unfailing(sys.stderr))


def in_threads(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    *,
    desc: str,
    unit: str,
) -> Iterator[Any]:
  """Yields the results of a function, which threads call, in order.

  A bar shows progress if it takes more than 3 seconds.

  Args:
    function: Function of one item.
    items: The items.
    desc: What is done, for the bar.
    unit: What an item is, for the bar.
  """
  shown = bar(total=len(items), desc=desc, unit=unit, delay=SHOWN_AFTER_S)
  with shown, futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    for start in range(0, len(items), _AT_ONCE):
      for result in pool.map(function, items[start : start + _AT_ONCE]):
        shown.update()
        yield result


class _Unfailing:
  """A stream that drops text that it cannot write."""

  def __init__(self, stream: Any):
    self._stream = stream

  def __eq__(self, other: Any) -> bool:
    return isinstance(other, _Unfailing) and self._stream is other._stream

  def __getattr__(self, name: str) -> Any:
    return getattr(self._stream, name)

  def write(self, text: str) -> int:
    try:
      return self._stream.write(text)
    except (OSError, ValueError):  # A ValueError if it was closed.
      return len(text)

  def flush(self) -> None:
    with contextlib.suppress(OSError, ValueError):
      self._stream.flush()
