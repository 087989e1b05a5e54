"""The helper program that exchanges heartbeats with those of other processes.

Each process of a program starts one such helper (`peers.py`). It needs only the
standard library. A thread could not do its work: while a long call of C++ holds
the lock of the interpreter, no thread of Python runs, and a busy process would
look dead. The helper sends heartbeats for its process as long as that process
exists and is not stopped (by SIGSTOP, for example), however busy it is.

The helper of the first process listens; the others connect to it. Messages are
lines of text:

    hello TOKEN INDEX   the first message of a helper that connects
    beat                a heartbeat, every `BEAT_SECONDS`
    end INDEX CODE      a process says that it ends, with this exit code
    gone INDEX          a process has ended without saying so
    lost INDEX          no heartbeat for `LOST_SECONDS`: stopped or cut off

The process writes `end CODE` to the standard input of its helper. If this input
is closed without it, the process has been killed. The helper prints the last
three messages about other processes to its standard output, and also:

    port PORT           it listens
    refused REASON      it cannot listen
    here INDEX          the helper of this process has connected
    unreachable         it could not connect for `LOST_SECONDS`
"""

import contextlib
import hmac
import os
import resource
import selectors
import socket
import sys
import time
from typing import Any

BEAT_SECONDS = 2
# Together with the time to leave, well below 30 seconds.
LOST_SECONDS = 20
# After a longer pause, this helper itself was suspended.
_PAUSE_SECONDS = 6
# How long the first process waits for the others to read why it ends.
_FAREWELL_SECONDS = 10
# How long other helpers may take to connect after they have started.
_CONNECT_SECONDS = 3
_MAX_LINE = 200
_BACKLOG = 1024  # All processes may connect at the same time.


class Helper:
  """Sends heartbeats of one process, and listens to those of others."""

  def __init__(self, index: int, token: str, *, host: str, port: int):
    """Listens in the first process; the others connect in `run`.

    Args:
      index: Index of the process.
      token: A secret that all helpers of a program share.
      host: Name of the machine of the first process.
      port: Port to listen on, 0 for any that is free, or to connect to.
    """
    self._index, self._token, self._address = index, token, (host, port)
    self._selector = selectors.DefaultSelector()
    self._links: dict[socket.socket, int | None] = {}
    self._texts: dict[int, bytes] = {}
    self._heard: dict[int, float] = {}
    self._ended: set[int] = set()
    self._parent = os.getppid()
    self._listener: socket.socket | None = None
    self._begun, self._tried, self._next_beat = time.monotonic(), 0.0, 0.0
    self._is_known = False  # Whether there has been a connection.
    self._farewell = ''  # The message about the end of the own process.
    if index == 0:
      self._listener, self._is_known = _listen(port), True
      self._selector.register(self._listener, selectors.EVENT_READ)
      _tell(f'port {self._listener.getsockname()[1]}')
    os.set_blocking(0, False)
    self._selector.register(0, selectors.EVENT_READ)

  def run(self) -> None:
    """Works until the process ends."""
    last = time.monotonic()
    self._connect(last)  # At once: this process may end soon.
    while True:
      ready = self._selector.select(timeout=BEAT_SECONDS / 2)
      now = time.monotonic()
      if now - last > _PAUSE_SECONDS or self._is_stopped():
        self._heard = dict.fromkeys(self._heard, now)  # Judges nobody.
      for key, _ in ready:
        if key.fileobj is self._listener:
          self._accept()
        elif key.fileobj == 0:
          if (ending := self._read_own()) is not None:
            return self._part(ending)
        else:
          self._read(key.fileobj)
      if os.getppid() != self._parent:  # A child of it may hold the input.
        return self._part(f'gone {self._index}')
      self._connect(now)
      last = time.monotonic()  # A try to connect may take long.
      self._beat(now)
      self._judge(now)

  def _is_stopped(self) -> bool:
    try:
      with open(f'/proc/{self._parent}/stat', 'rb') as file:
        return file.read().rpartition(b') ')[2][:1] in b'Tt'
    except OSError:  # Not Linux, or the process has ended.
      return False

  def _accept(self) -> None:
    assert self._listener is not None
    with contextlib.suppress(OSError):
      link, _ = self._listener.accept()
      self._add(link, None)

  def _add(self, link: socket.socket, index: int | None) -> None:
    link.setblocking(False)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    self._links[link] = index
    self._selector.register(link, selectors.EVENT_READ)

  def _drop(self, link: socket.socket) -> None:
    """Closes a connection; its helper may connect again."""
    self._selector.unregister(link)
    self._texts.pop(link.fileno(), None)
    del self._links[link]
    link.close()

  def _connect(self, now: float) -> None:
    """Connects to the first process if there is no connection."""
    if self._listener or self._links or now - self._tried < BEAT_SECONDS:
      return
    self._tried = now
    try:
      link = socket.create_connection(self._address, timeout=BEAT_SECONDS)
    except ConnectionRefusedError:
      if 0 in self._heard:  # Its machine works, but its helper has ended.
        self._announce('gone 0')
      return
    except OSError:
      return
    self._add(link, 0)
    self._send(link, f'hello {self._token} {self._index}')

  def _beat(self, now: float) -> None:
    if now < self._next_beat or self._is_stopped():
      return
    self._next_beat = now + BEAT_SECONDS
    for link, index in list(self._links.items()):
      if index is not None:
        self._send(link, 'beat')

  def _judge(self, now: float) -> None:
    if not self._is_known and now - self._begun > LOST_SECONDS:
      self._is_known = True
      _tell('unreachable')
    for index, heard in list(self._heard.items()):
      if now - heard > LOST_SECONDS:
        self._announce(f'lost {index}')

  def _announce(self, message: str) -> None:
    """Passes a message on to all other helpers, and to the own process."""
    kind, about = message.split()[0], int(message.split()[1])
    if about in self._ended:
      return
    self._ended.add(about)
    self._heard.pop(about, None)
    for link, index in list(self._links.items()):
      if index is not None:
        self._send(link, message)
    if about != self._index or kind == 'lost':
      _tell(message)

  def _send(self, link: socket.socket, message: str) -> None:
    try:
      link.sendall(f'{message}\n'.encode())
    except OSError:
      self._drop(link)

  def _receive(self, descriptor: int) -> list[str] | None:
    """Complete lines from a connection or the input; None at its end."""
    try:
      data = os.read(descriptor, 4096)
    except BlockingIOError:
      return []
    except OSError:
      return None
    *lines, rest = (self._texts.get(descriptor, b'') + data).split(b'\n')
    self._texts[descriptor] = rest
    if not data or len(rest) > _MAX_LINE:
      return None
    return [line.decode('ascii', 'replace') for line in lines]

  def _read_own(self) -> str | None:
    """The message about the end of the own process; None before it."""
    lines = self._receive(0)
    if lines is None:
      return f'gone {self._index}'
    return f'end {self._index} {lines[0].split()[1]}' if lines else None

  def _read(self, link: Any) -> None:
    if link not in self._links:
      return
    lines = self._receive(link.fileno())
    if lines is None or not all(self._obey(link, x.split()) for x in lines):
      self._drop(link)

  def _obey(self, link: socket.socket, words: list[str]) -> bool:
    """Obeys a message; returns whether it came from a helper."""
    if self._links[link] is None:
      good = len(words) == 3 and words[0] == 'hello' and words[2].isdecimal()
      if not good or not hmac.compare_digest(words[1], self._token):
        return False
      self._links[link] = index = int(words[2])
      if index not in self._heard:
        _tell(f'here {index}')
      if self._farewell:
        self._send(link, self._farewell)
        return link in self._links
    elif words[0] in ('end', 'gone', 'lost'):
      self._announce(' '.join(words))
    index = self._links[link]
    if index is not None and index not in self._ended:
      self._heard[index], self._is_known = time.monotonic(), True
    return True

  def _part(self, message: str) -> None:
    """Lets the others read the last message before the first process ends.

    When the first process ends, JAX ends the others with a trace of C++. This
    gives them the time to end in their own way.
    """
    self._announce(message)
    self._farewell = message
    until = time.monotonic() + _FAREWELL_SECONDS
    # The others may still be connecting. An end without an error is no news.
    is_news = message != f'end {self._index} 0'
    earliest = self._begun + _CONNECT_SECONDS if is_news else 0
    self._selector.unregister(0)
    while self._listener and time.monotonic() < until:
      others = {i for i in self._links.values() if i is not None}
      if others <= self._ended and time.monotonic() > earliest:
        return
      for key, _ in self._selector.select(timeout=0.1):
        if key.fileobj is self._listener:
          self._accept()
        else:
          self._read(key.fileobj)


def _listen(port: int) -> socket.socket:
  """A socket that listens on all addresses of this machine."""
  if socket.has_dualstack_ipv6():
    with contextlib.suppress(OSError):  # The kernel may lack IPv6.
      return socket.create_server(
          ('', port),
          family=socket.AF_INET6,
          dualstack_ipv6=True,
          backlog=_BACKLOG,
      )
  return socket.create_server(('', port), backlog=_BACKLOG)


def _allow_many_files() -> None:
  """Raises the limit of open files, which is often 1024: one per process."""
  _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
  with contextlib.suppress(OSError, ValueError):
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _tell(message: str) -> None:
  """Sends a message to the own process, through the standard output."""
  with contextlib.suppress(OSError):
    os.write(1, f'{message}\n'.encode())


def main() -> None:
  """Runs the helper; its arguments are INDEX, HOST and PORT.

  The first line of the standard input is the token.
  """
  index, host, port = sys.argv[1:]
  with open(0, 'rb', buffering=0, closefd=False) as given:
    token = given.readline().decode().strip()
  _allow_many_files()
  try:
    helper = Helper(int(index), token, host=host, port=int(port))
  except OSError as error:
    return _tell(f'refused {error.strerror}')
  return helper.run()


if __name__ == '__main__':
  main()
