"""Writes and hashes an array file, which appears whole or not at all."""

import contextlib
import errno
import os
from typing import IO

from rq_jax import hashes
from rq_jax.data.feature_cache import layout
from rq_jax.data.feature_cache import records

# Error numbers of file systems that cannot reserve space.
_CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV)


class ArrayFile:
  """An array file that is being written.

  It has a temporary name until `publish`. It is kept open only from the first
  `append` to `close`, so thousands of these can exist at a time.
  """

  def __init__(self, described: layout.ArrayFile):
    """Prepares to write the file that `described` describes."""
    self._described = described
    self._partial = layout.partial(described.path)
    self._hash = hashes.new(described.header)
    self._stream: IO[bytes] | None = None

  def reserve(self) -> bool:
    """Creates the file with its header; returns whether its space is reserved.

    Some file systems cannot reserve space.

    Raises:
      OSError: If the disk has not enough space.
    """
    with self._partial.open('wb') as file:
      reserved = _allocate(file, self._described.size)
      file.write(self._described.header)
    return reserved

  def append(self, content: bytes) -> None:
    """Writes the next bytes of the array."""
    if self._stream is None:
      self._stream = self._partial.open('r+b')
      self._stream.seek(len(self._described.header))
    self._stream.write(content)
    self._hash.update(content)

  def close(self) -> records.Stored:
    """Waits until the file is on disk; returns its size and hash."""
    self.append(b'')  # Opens the file of an empty array.
    assert self._stream is not None
    self._stream.flush()
    os.fsync(self._stream.fileno())
    self._stream.close()
    return records.Stored(
        bytes=self._described.size, hash=self._hash.hexdigest()
    )

  def publish(self) -> None:
    """Gives the closed file its final name."""
    os.replace(self._partial, self._described.path)

  def discard(self) -> None:
    """Removes the file if it is not published; it may be in any state."""
    if self._stream is not None:
      with contextlib.suppress(OSError):  # Buffered data is not needed.
        self._stream.close()
      self._stream = None
    self._partial.unlink(missing_ok=True)

  def clear(self) -> None:
    """Removes an older version of the file, whole or partial."""
    self._described.path.unlink(missing_ok=True)
    self._partial.unlink(missing_ok=True)

  @property
  def name(self) -> str:
    """The final name of the file."""
    return self._described.path.name


def _allocate(file: IO[bytes], size: int) -> bool:
  """Reserves the space of a whole file; returns whether that is possible.

  Raises:
    OSError: If there is not enough space.
  """
  if not hasattr(os, 'posix_fallocate'):  # On macOS.
    return False
  try:
    os.posix_fallocate(file.fileno(), 0, size)
  except OSError as error:
    if error.errno not in _CANNOT_RESERVE:
      raise
    return False
  return True
