"""A TCP proxy that can cut off a process without closing its connections."""

import contextlib
import socket
import threading
import time


class Proxy:
  """Forwards connections to a port of this machine until it is cut.

  Attributes:
    port: Port that it listens on.
  """

  def __init__(self, target):
    self._target = target
    self._cut = threading.Event()
    self._open = []
    self._listener = socket.create_server(('localhost', 0))
    self.port = self._listener.getsockname()[1]
    threading.Thread(target=self._accept, daemon=True).start()

  def cut(self):
    """Swallows everything from now on, as an unplugged cable does."""
    self._cut.set()

  def close_all(self):
    """Closes all connections; new ones are forwarded."""
    for link in self._open:
      with contextlib.suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)
    self._open.clear()

  def _accept(self):
    while True:
      near, _ = self._listener.accept()
      threading.Thread(target=self._join, args=(near,), daemon=True).start()

  def _join(self, near):
    if self._cut.is_set():
      threading.Event().wait()
    far = None
    while far is None:  # The other side may not listen yet.
      with contextlib.suppress(OSError):
        far = socket.create_connection(('localhost', self._target))
        break
      time.sleep(0.05)
    self._open += near, far
    copies = [
        threading.Thread(target=self._copy, args=pair, daemon=True)
        for pair in ((near, far), (far, near))
    ]
    for copy in copies:
      copy.start()
    for copy in copies:
      copy.join()
    near.close()
    far.close()

  def _copy(self, source, sink):
    with contextlib.suppress(OSError):
      while data := source.recv(65536):
        if self._cut.is_set():
          threading.Event().wait()
        sink.sendall(data)
    with contextlib.suppress(OSError):
      sink.shutdown(socket.SHUT_WR)
