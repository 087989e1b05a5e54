"""Progress bars that can fail without stopping the work they show."""

import contextlib
import sys
from typing import Any

import tqdm


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
