"""Ends this process with a sentence when another process has stopped.

JAX notices a lost process after 100 seconds, and then ends all processes with a
trace of C++. Helper programs (`heartbeats.py`) notice it earlier. A thread
reads what they print, and ends this process, whatever other threads wait for.
"""

import atexit
import contextlib
import ctypes
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from typing import Any, NamedTuple

import jax

from rq_jax.distributed import console
from rq_jax.distributed import heartbeats
from rq_jax.distributed import interrupts

PORT = 'RQ_JAX_HEARTBEAT_PORT'
_KEY = 'rq_jax/heartbeats'
# How long this process may take to end by itself after an error of another.
_GRACE_SECONDS = 8
_LATE = 'If a process is lost, the others may notice it only after 100 s.'
# In place of the port, if the first process has no helper or has stopped.
_NONE, _FAILED = 'none', 'failed'
_RESUME = 'Run the same command again, in all processes, to resume.'


class _End(NamedTuple):
  """How this process must end."""

  sentence: str
  code: int


class _Watch:
  """Reads the messages of the helper program."""

  def __init__(self, helper: subprocess.Popen, index: int):
    self.helper, self._index = helper, index
    self.blocked = threading.Event()  # The main thread waits for the reason.
    threading.Thread(target=self._read, daemon=True).start()

  def _read(self) -> None:
    for line in self.helper.stdout or ():
      kind, *values = line.split()
      if kind == 'unreachable':
        console.warn(
            f'The first process cannot be reached for heartbeats. {_LATE} Open'
            ' a port between the machines, and set the environment variable'
            f' {PORT} to it, in all processes.'
        )
      elif (end := _judge(self._index, kind, *values)) is not None:
        if end.code != interrupts.RESUMABLE:
          self.blocked.wait(_GRACE_SECONDS)
        if _leaving.is_set():
          return  # The main thread has said why.
        _leaving.set()
        interrupts.say(f'\nError: {end.sentence}')
        interrupts.end_at_once(end.code)
    if not _leaving.is_set():
      _warn_helpless('it has ended')

  def finish(self, code: int) -> None:
    """Says to the other processes that this one ends."""
    with contextlib.suppress(OSError, ValueError):
      assert self.helper.stdin is not None
      self.helper.stdin.write(f'end {code}\n')
      self.helper.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
      self.helper.wait(timeout=12)


_watch: _Watch | None = None
_leaving = threading.Event()  # This process ends, and has said why.


def watch() -> None:
  """Watches the other processes; call it once the processes have joined."""
  global _watch
  from jax._src import distributed  # No public module shares values.

  state = distributed.global_state
  client, index = state.client, state.process_id
  if client is None or state.num_processes == 1:
    return
  given = os.environ.get(PORT, '')
  if given and not (given.isdecimal() and 0 < int(given) < 2**16):
    raise ValueError(
        f'The environment variable {PORT}={given} must be a port from 1 to'
        ' 65535. Change it, or leave it out for any port that is free.'
    )
  if index == 0:
    helper = _start_first(client, given)
  else:
    host = (state.coordinator_address or '').rpartition(':')[0].strip('[]')
    helper = _start_other(client, index, host, given)
  if helper is None:
    return
  _watch = _Watch(helper, index)
  _delay_aborts()
  interrupts.before_exit(finish)
  # JAX waits for the other processes at the end; one may be lost even then.
  atexit.register(_leave)


def _delay_aborts() -> None:
  """Lets a thread that aborts this process sleep for 6 seconds first.

  If the first process is gone, JAX aborts the others at once, perhaps before
  they have read the reason. The handler of the signal is the C function
  `sleep`. Its argument is the number of the signal, which is 6.
  """
  libc = ctypes.CDLL(None)
  libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
  libc.signal.restype = ctypes.c_void_p
  libc.signal(signal.SIGABRT, ctypes.cast(libc.sleep, ctypes.c_void_p))


def _start_first(client: Any, given: str) -> subprocess.Popen | None:
  """Starts the helper that listens, and publishes its port."""
  token = secrets.token_hex(16)
  helper = _start(0, token, '', given or '0')
  answer = helper.stdout.readline() if helper and helper.stdout else ''
  kind, _, value = answer.strip().partition(' ')
  if kind == 'port':
    client.key_value_set(_KEY, f'{value} {token}')
    return helper
  if helper is not None:
    helper.communicate()  # It has ended.
  if given and kind == 'refused':
    client.key_value_set(_KEY, _FAILED)
    raise ValueError(
        f'The environment variable {PORT}={given} names a port that cannot be'
        f' opened: {value}. Choose another port.'
    )
  client.key_value_set(_KEY, _NONE)
  if helper is not None:
    _warn_helpless(value or 'it has ended')
  return None


def _start_other(
    client: Any, index: int, host: str, given: str
) -> subprocess.Popen | None:
  """Starts a helper that connects to that of the first process."""
  text = client.blocking_key_value_get(_KEY, 300_000)
  if text == _FAILED:
    raise ValueError(
        'The first process has stopped. Its message gives the reason.'
    )
  if text == _NONE:
    return None  # The first process has printed a warning.
  port, token = text.split()
  return _start(index, token, host, given or port)


def _start(
    index: int, token: str, host: str, port: str
) -> subprocess.Popen | None:
  """Starts a helper; warns and returns None if that is impossible."""
  # Without the site's packages, it starts in a few hundredths of a second.
  program = [sys.executable or '', '-I', '-S', heartbeats.__file__]
  try:
    helper = subprocess.Popen(
        [*program, str(index), host, port],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        bufsize=1,
        start_new_session=True,  # Ctrl-C must not reach it.
    )
  except OSError as error:
    _warn_helpless(str(error))
    return None
  assert helper.stdin is not None
  with contextlib.suppress(OSError):  # If it has ended, so does its output.
    helper.stdin.write(f'{token}\n')
  return helper


def _judge(own: int, kind: str, index: str, code: str = '') -> _End | None:
  """How this process ends after a message; None if it continues."""
  who = f'Process {index}' if int(index) else 'The first process'
  who = 'This process' if int(index) == own else who
  if kind == 'lost':
    return _End(
        f'{who} has sent no heartbeat for {heartbeats.LOST_SECONDS} s: it'
        f' is stopped, hangs, or cannot be reached. {_RESUME}',
        interrupts.RESUMABLE,
    )
  if kind == 'gone':
    return _End(
        f'{who} has been killed or has crashed. {_RESUME}', interrupts.RESUMABLE
    )
  if code == str(interrupts.RESUMABLE):
    return _End(f'{who} has been interrupted. {_RESUME}', interrupts.RESUMABLE)
  if kind == 'here' or code == '0':
    return None
  return _End(
      f'{who} has stopped with an error. Its message gives the reason.', 1
  )


def _warn_helpless(reason: str) -> None:
  console.warn(
      'The helper program of this process, which sends its heartbeats, does not'
      f' run: {reason}. {_LATE}'
  )


def await_reason() -> None:
  """Waits until the thread ends this process, after an error of JAX.

  It returns only if no process is found to be missing.
  """
  if _watch is not None:
    _watch.blocked.set()
  if _watch is not None or _leaving.is_set():
    time.sleep(heartbeats.LOST_SECONDS + 3 * heartbeats.BEAT_SECONDS)


def finish(code: int) -> None:
  """Says to the other processes that this one ends with an exit code."""
  global _watch
  _leaving.set()
  watching, _watch = _watch, None
  if watching is not None:
    watching.finish(code)


def _leave() -> None:
  if _watch is not None:
    jax.distributed.shutdown()
    finish(0)
