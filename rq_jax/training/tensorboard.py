"""Writes event files for TensorBoard, without a thread.

The writer of tensorboardX passes events to a thread, which dies when a disk is
full. The queue of that thread then fills up, and the next write waits forever.
Here, each call writes its own events and raises its own errors.
"""

from collections.abc import Mapping
import contextlib
import errno
import os
import socket
import struct
import time
from typing import Any

from etils import epath
import numpy as np

from rq_jax import files

# Bytes that must be free to begin another file, after one has failed.
_ROOM = 2**20


class Writer:
  """Event files of one run.

  An event that fails may leave an incomplete record in its file, and readers
  ignore everything after such a record. So the next event goes to a new file.
  """

  def __init__(self, folder: epath.Path, *, first_step: int):
    """Prepares to write; no file is opened yet.

    Args:
      folder: Folder of the event files; created if it is missing.
      first_step: TensorBoard hides events of earlier runs from this step on.
    """
    self._folder, self._first_step = folder, first_step
    self._file: Any = None
    self._opened = 0
    self._started = False

  def write_scalars(self, step: int, values: Mapping[str, float]) -> None:
    """Writes numbers by name.

    Raises:
      OSError: If they cannot be written.
    """
    from tensorboardX import summary

    self._write(step, [summary.scalar(n, v) for n, v in values.items()])

  def write_image(self, step: int, name: str, image: np.ndarray) -> None:
    """Writes a picture, uint8[H, W, 3].

    Raises:
      OSError: If it cannot be written.
    """
    from tensorboardX import summary

    self._write(step, [summary.image(name, image, dataformats='HWC')])

  def close(self) -> None:
    """Closes the file that is open, if any.

    Raises:
      OSError: If buffered events cannot be written.
    """
    if self._file is not None:
      file, self._file = self._file, None
      file.close()

  def _write(self, step: int, summaries: list[Any]) -> None:
    event_pb2 = _event_pb2()

    try:
      file = self._open()
      for content in summaries:
        event = event_pb2.Event(summary=content, step=step)
        event.wall_time = time.time()
        file.write(_record(event))
      file.flush()
      self._started = True
    except BaseException:
      with contextlib.suppress(OSError):
        self.close()
      raise

  def _open(self) -> Any:
    if self._file is not None:
      return self._file
    from tensorboardX import record_writer  # Imports protobuf: slow.

    event_pb2 = _event_pb2()

    free = files.free_bytes(self._folder)
    if self._opened and free is not None and free < _ROOM:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    self._folder.mkdir(parents=True, exist_ok=True)
    # Numbered, because several may be opened within a second.
    name = f'{time.time():.0f}.{socket.gethostname()}.{self._opened}'
    path = self._folder / f'events.out.tfevents.{name}'
    self._opened += 1
    self._file = record_writer.open_file(str(path))
    events = [event_pb2.Event(file_version='brain.Event:2')]
    if not self._started:  # Another would hide events of this run.
      start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
      events += [event_pb2.Event(step=self._first_step, session_log=start)]
    for event in events:
      event.wall_time = time.time()
      self._file.write(_record(event))
    return self._file


def _event_pb2() -> Any:
  """The module of messages; protobuf makes its names when it is imported."""
  from tensorboardX.proto import event_pb2

  return event_pb2


def _record(event: Any) -> bytes:
  """Encodes an event for a file: length and contents, each with a checksum.

  The writer of tensorboardX would wait for the disk after each event.
  """
  from tensorboardX import record_writer

  data = event.SerializeToString()
  length = struct.pack('<Q', len(data))
  return b''.join(
      part + struct.pack('<I', record_writer.masked_crc32c(part))
      for part in (length, data)
  )
