"""Keeps two programs from writing to one folder.

Two files in the folder. `.lock` is locked by the operating system as long as
the process lives, so that no crash leaves it locked. Other machines may not see
that lock: for them, `.heartbeat` names host and process, and the time of its
last change shows that they are alive.
"""

from collections.abc import Iterator
import contextlib
import errno
import fcntl
import json
import os
import pathlib
import socket
import threading
import time
from typing import Any
import uuid

from etils import epath

from rq_jax import files

BEAT_SECONDS = 10
# A holder that shows no sign for so long is dead: network file systems may show
# changes a while later.
DEAD_AFTER_SECONDS = 60

_SETTLE_SECONDS = 1
_TOKEN = uuid.uuid4().hex  # Of this process.
_HEARTBEATS: set[epath.Path] = set()  # Of the folders that are held.

# File systems that know no locks, or none that other machines see.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


@contextlib.contextmanager
def hold(folder: epath.PathLike, *, flag: str) -> Iterator[None]:
  """Holds a folder, so that no other program writes to it meanwhile.

  Args:
    folder: It exists, local or remote.
    flag: The flag that named it, for the message.

  Raises:
    ValueError: At once, if another program holds it; names host and process.
  """
  folder = epath.Path(folder)
  with contextlib.ExitStack() as held:
    locked = files.is_local(folder) and _lock(folder, held)
    holder = _read(folder)
    if locked is None or (holder and _is_alive(folder, holder, bool(locked))):
      raise _taken(folder, flag, holder)
    held.enter_context(_beating(folder))
    if not locked:
      time.sleep(_SETTLE_SECONDS)  # Somebody may have come at the same time.
      if (holder := _read(folder)) and holder.get('token') != _TOKEN:
        raise _taken(folder, flag, holder)
    yield


def _lock(folder: epath.Path, held: contextlib.ExitStack) -> bool | None:
  """Takes the lock of the operating system.

  Returns:
    Whether it is taken: None if another process has it, False if this file
    system has no locks.
  """
  descriptor = os.open(folder / '.lock', os.O_RDWR | os.O_CREAT, 0o666)
  held.callback(os.close, descriptor)
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return None
  except OSError as error:
    if error.errno not in _NO_LOCKS:
      raise
    return False
  return True


def _taken(folder: epath.Path, flag: str, holder: dict[str, Any]) -> ValueError:
  host, process = holder.get('host', 'unknown'), holder.get('process')
  return ValueError(
      f'{flag}={folder} is in use: process {process} on host {host} writes to'
      ' it. Wait until it has finished, stop it, or choose another folder. (If'
      f' that host is down, the folder is free {DEAD_AFTER_SECONDS} s after its'
      ' last sign of life.)'
  )


def _is_alive(folder: epath.Path, holder: dict[str, Any], locked: bool) -> bool:
  """Whether the process that the heartbeat names still writes to the folder."""
  if locked and holder.get('machine') == _machine():
    return False  # Or it would have the lock.
  # Times are those of the file system, whose clock may differ from ours.
  probe = folder / f'.probe-{uuid.uuid4().hex}'
  probe.write_text('')
  try:
    now = probe.stat().mtime
    beat = (folder / '.heartbeat').stat().mtime
  except FileNotFoundError:  # It has just finished.
    return False
  finally:
    probe.unlink(missing_ok=True)
  return now - beat < DEAD_AFTER_SECONDS


def _machine() -> str:
  """Names the machine, until it is started again: hosts may share a name."""
  try:
    return pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
  except OSError:
    return socket.gethostname()


def release_all() -> None:
  """Ends all heartbeats of this process, which is about to end at once."""
  for file in list(_HEARTBEATS):
    with contextlib.suppress(Exception):
      file.unlink(missing_ok=True)


@contextlib.contextmanager
def _beating(folder: epath.Path) -> Iterator[None]:
  """Shows signs of life until the context ends; failing to is no error."""
  file = folder / '.heartbeat'
  holder = {
      'host': socket.gethostname(),
      'process': os.getpid(),
      'machine': _machine(),
      'token': _TOKEN,
  }
  stopped = threading.Event()

  def beat():
    while not stopped.wait(BEAT_SECONDS):
      with contextlib.suppress(Exception):
        if files.is_local(folder) and _read(folder):
          os.utime(file)  # Needs no room on the disk.
        else:
          file.write_text(json.dumps(holder | {'beat': time.time()}))

  with contextlib.suppress(OSError):
    file.write_text(json.dumps(holder))
  _HEARTBEATS.add(file)
  thread = threading.Thread(target=beat, daemon=True)
  thread.start()
  try:
    yield
  finally:
    stopped.set()
    thread.join(timeout=1)
    _HEARTBEATS.discard(file)
    with contextlib.suppress(OSError):
      if _read(folder).get('token') in (None, _TOKEN):
        file.unlink(missing_ok=True)


def _read(folder: epath.Path) -> dict[str, Any]:
  """Who holds a folder, or an empty dictionary."""
  try:
    holder = files.read_json(folder / '.heartbeat')
  except (ValueError, OSError):
    return {}
  return holder if isinstance(holder, dict) else {}
