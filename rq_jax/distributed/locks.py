"""Keeps two programs from writing to one folder.

It uses two files in the folder. The operating system locks `.lock` as long as
the process lives, so that no crash leaves it locked. Other machines may not see
this lock. For them, `.heartbeat` names the host and the process, and the time
of its last change shows that the process is alive.

A process that was suspended, or cut off from the disk, for too long counts as
dead, and another may take the folder. So it must ask before it writes: see
`Held.require`.
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
# After a longer pause, a holder makes sure of its folder before it writes. The
# rest of the time until it counts as dead is for what it writes.
_DOUBTFUL_AFTER_SECONDS = 40
# A holder with an older heartbeat is dead. Network file systems may show
# changes late, so this is much longer than a beat.
DEAD_AFTER_SECONDS = 60

_SETTLE_SECONDS = 1
_TOKEN = uuid.uuid4().hex  # Identifies this process.
_HELD: set['Held'] = set()  # By this process.

# Errors of file systems that have no locks, or none across machines.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)


class LostError(ValueError):
  """Another program has taken the folder that this one held."""


class Held:
  """A folder that this process holds."""

  def __init__(self, folder: epath.Path, flag: str):
    """Writes the first heartbeat; ignores failures."""
    self._folder, self._flag = folder, flag
    self._locked = files.is_local(folder)  # Then it has a file `.lock`.
    self._file = folder / '.heartbeat'
    self._holder = {
        'host': socket.gethostname(),
        'process': os.getpid(),
        'machine': _machine(),
        'token': _TOKEN,
    }
    self._beaten = _now()
    with contextlib.suppress(OSError):
      self._file.write_text(json.dumps(self._holder))

  def require(self) -> None:
    """Raises a LostError if another program has taken the folder.

    Call it before you write. After a suspension it takes a second, in which
    another program that takes the folder right now becomes visible.
    """
    if doubtful := self._is_doubtful():
      self.beat()
      time.sleep(_SETTLE_SECONDS)
    holder = _read(self._folder)
    if not _is_ours(holder):
      raise LostError(
          f'{self._flag}={self._folder} now belongs to process'
          f' {holder.get("process")} on host {holder.get("host", "unknown")},'
          ' which took it while this process did not run or could not reach the'
          f' disk for {DEAD_AFTER_SECONDS} s. This process stops and writes'
          ' nothing more.'
      )
    if doubtful:
      self._beaten = _now()

  def _is_doubtful(self) -> bool:
    return _now() - self._beaten > _DOUBTFUL_AFTER_SECONDS

  def beat(self) -> None:
    """Shows that this process is alive; ignores failures."""
    with contextlib.suppress(Exception):
      holder = _read(self._folder)
      if not _is_ours(holder):
        return  # It belongs to another program by now.
      if files.is_local(self._folder) and holder:
        os.utime(self._file)  # Needs no room on the disk.
      elif not self._locked or (self._folder / '.lock').exists():
        # Otherwise, the folder was removed, and another is in its place.
        beat = {'beat': time.time()}
        self._file.write_text(json.dumps(self._holder | beat))
      if not self._is_doubtful():  # Otherwise, only `require` knows.
        self._beaten = _now()

  def release(self) -> None:
    """Removes the heartbeat, unless it is another's; ignores failures."""
    with contextlib.suppress(Exception):
      if _is_ours(_read(self._folder)):
        self._file.unlink(missing_ok=True)


@contextlib.contextmanager
def hold(folder: epath.PathLike, *, flag: str) -> Iterator[Held]:
  """Locks a folder, so that no other program writes to it meanwhile.

  Args:
    folder: The folder, local or remote; it is created if it does not exist.
    flag: The flag that named the folder, for the error message.

  Raises:
    ValueError: At once, if the folder cannot be written, or if another program
      holds it. The message names its host and process.
  """
  folder = epath.Path(folder)
  with contextlib.ExitStack() as held:
    try:
      folder.mkdir(parents=True, exist_ok=True)
      locked = files.is_local(folder) and _lock(folder, held)
    except OSError as error:
      raise ValueError(
          f'{flag}={folder} cannot be written: {error.strerror}. Choose another'
          ' folder, or change its permissions.'
      ) from error
    holder = _read(folder)
    if locked is None or (holder and _is_alive(folder, holder, bool(locked))):
      raise _taken(folder, flag, holder)
    ours = held.enter_context(_beating(folder, flag))
    if not locked:
      time.sleep(_SETTLE_SECONDS)  # Another may have come at the same time.
      if not _is_ours(holder := _read(folder)):
        raise _taken(folder, flag, holder)
    yield ours


def _lock(folder: epath.Path, held: contextlib.ExitStack) -> bool | None:
  """Takes the lock of the operating system.

  Returns:
    True if this process now has the lock, None if another process has it,
    False if this file system has no locks.
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
      f' that host is down, the folder is free {DEAD_AFTER_SECONDS} s after the'
      ' last change of its file .heartbeat.)'
  )


def _is_alive(folder: epath.Path, holder: dict[str, Any], locked: bool) -> bool:
  """Whether the process that the heartbeat names still writes to the folder."""
  if locked and holder.get('machine') == _machine():
    return False  # If it were alive, it would have the lock.
  # Compares times of the file system only: its clock may differ from ours.
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
  """Identifies the machine until it reboots, as hosts may share a name."""
  try:
    return pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
  except OSError:
    return socket.gethostname()


def release_all() -> None:
  """Ends all heartbeats of this process, which is about to exit."""
  for held in list(_HELD):
    held.release()


@contextlib.contextmanager
def _beating(folder: epath.Path, flag: str) -> Iterator[Held]:
  """Keeps a heartbeat until the context ends."""
  held = Held(folder, flag)
  stopped = threading.Event()

  def beat():
    while not stopped.wait(BEAT_SECONDS):
      held.beat()

  _HELD.add(held)
  thread = threading.Thread(target=beat, daemon=True)
  thread.start()
  try:
    yield held
  finally:
    stopped.set()
    thread.join(timeout=1)
    _HELD.discard(held)
    held.release()


def _is_ours(holder: dict[str, Any]) -> bool:
  """Whether a heartbeat is of this process, missing or damaged."""
  return holder.get('token', _TOKEN) == _TOKEN if holder else True


def _now() -> float:
  """Seconds of a clock that also runs while the machine is suspended."""
  clock = getattr(time, 'CLOCK_BOOTTIME', time.CLOCK_MONOTONIC)
  return time.clock_gettime(clock)


def _read(folder: epath.Path) -> dict[str, Any]:
  """Reads who holds a folder; an empty dictionary if it is unknown."""
  try:
    holder = files.read_json(folder / '.heartbeat')
  except (ValueError, OSError):
    return {}
  return holder if isinstance(holder, dict) else {}
