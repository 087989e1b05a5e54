"""A process learns what happened to another one, and waits for a busy one."""

import contextlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from rq_jax.distributed import heartbeats
from tests import processes
from tests import tcp_proxy

pytestmark = [pytest.mark.process, pytest.mark.slow]

LOST = 2
QUICK = f"""
from rq_jax.distributed import heartbeats
heartbeats.BEAT_SECONDS = 0.2
heartbeats.LOST_SECONDS = {LOST}
heartbeats.main()
"""
# A process with its helper, which does what it reads.
PROCESS = """
import ctypes, subprocess, sys
helper = subprocess.Popen(
    [sys.executable, '-c', *sys.argv[1:]],
    stdin=subprocess.PIPE, text=True, bufsize=1, start_new_session=True)
helper.stdin.write('secret\\n')
for line in sys.stdin:
  kind, value = line.split()
  if kind == 'hold':  # The lock of the interpreter, in a call of C.
    ctypes.PyDLL(None).sleep(int(value))
  else:
    helper.stdin.write(line)
    helper.wait()
    break
"""


class Processes:
  """Three processes, which watch each other; `do` gives one an order."""

  def __init__(self, ports=(0, None, None)):
    self.all = []
    for index, port in enumerate(ports):
      self.all.append(self._start(index, self.port if port is None else port))
      if index == 0:
        self.port = int(self.all[0].stdout.readline().split()[1])
    # Only a process that has connected can be lost.
    assert sorted(self.heard(0, 0)) == ['here 1', 'here 2']
    time.sleep(0.5)  # The others have heard the first process.

  def _start(self, index, port):
    return subprocess.Popen(
        [
            sys.executable,
            '-c',
            PROCESS,
            QUICK,
            str(index),
            'localhost',
            str(port),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )

  def do(self, index, order):
    self.all[index].stdin.write(f'{order}\n')

  def heard(self, *indices):
    """The next message of each of these processes."""
    return [self.all[index].stdout.readline().strip() for index in indices]

  def end(self):
    for process in self.all:
      process.kill()
    # Also their helpers have ended then.
    return [process.communicate(timeout=30)[0] for process in self.all]


@pytest.fixture
def three():
  started = Processes()
  yield started
  started.end()


@pytest.mark.parametrize(('victim', 'others'), [(1, (0, 2)), (0, (1, 2))])
def test_a_process_that_is_killed_is_gone_at_once(victim, others, three):
  start = time.monotonic()
  three.all[victim].kill()
  assert three.heard(*others) == [f'gone {victim}'] * 2
  assert time.monotonic() - start < LOST


@pytest.mark.parametrize(('victim', 'others'), [(1, (0, 2)), (0, (1, 2))])
def test_a_process_that_is_stopped_is_lost_after_a_while(victim, others, three):
  three.all[victim].send_signal(signal.SIGSTOP)
  assert three.heard(*others) == [f'lost {victim}'] * 2


def test_a_process_that_is_busy_is_not_lost(three):
  three.do(1, f'hold {3 * LOST}')  # No thread of Python runs.
  time.sleep(2.5 * LOST)
  three.do(2, 'end 1')
  # Nothing was said before.
  assert three.heard(0) == ['end 2 1']


def test_a_process_that_ends_says_its_exit_code(three):
  three.do(1, 'end 1')
  assert three.heard(0, 2) == ['end 1 1'] * 2
  three.do(0, 'end 75')
  assert three.heard(2) == ['end 0 75']
  # Messages come once, and nobody is lost afterwards.
  time.sleep(1.5 * LOST)
  assert three.end()[1:] == ['', '']


def test_a_process_that_is_cut_off_is_lost_to_all_and_loses_the_first():
  port = processes.free_port()
  proxy = tcp_proxy.Proxy(port)
  three = Processes((port, proxy.port, port))
  proxy.cut()
  assert three.heard(0, 1, 2) == ['lost 1', 'lost 0', 'lost 1']
  three.end()


def test_a_connection_that_breaks_is_made_again():
  port = processes.free_port()
  proxy = tcp_proxy.Proxy(port)
  three = Processes((port, proxy.port, port))
  proxy.close_all()
  time.sleep(1.5 * LOST)
  three.do(1, 'end 1')
  assert three.heard(0, 2) == ['end 1 1'] * 2
  three.end()


def test_strangers_are_not_heard(three):
  for text in (b'hello wrong 1\nlost 1\n', b'lost 1\n', b'\xff' * 1000):
    with socket.create_connection(('localhost', three.port)) as stranger:
      stranger.sendall(text)
      assert stranger.recv(10) in (b'', b'beat')
  three.do(2, 'end 1')
  assert three.heard(0, 1) == ['end 2 1'] * 2


def test_nobody_waits_for_a_stranger(three):
  with socket.create_connection(('localhost', three.port)):
    time.sleep(0.5)  # Until it is accepted.
    three.do(1, 'end 0')
    three.do(2, 'end 0')
    start = time.monotonic()
    three.do(0, 'end 0')
    three.all[0].wait(timeout=30)
    assert time.monotonic() - start < 5


def test_many_processes_may_connect_at_the_same_time():
  count, few_files = 300, 'ulimit -Sn 256; exec "$0" "$@"'
  program = [sys.executable, heartbeats.__file__, '0', '', '0']
  with (
      subprocess.Popen(
          ['bash', '-c', few_files, *program],
          stdin=subprocess.PIPE,
          stdout=subprocess.PIPE,
          text=True,
          bufsize=1,
      ) as helper,
      contextlib.ExitStack() as links,
  ):
    helper.stdin.write('secret\n')
    port = int(helper.stdout.readline().split()[1])
    for i in range(1, count):
      link = links.enter_context(socket.socket())
      link.setblocking(False)
      link.connect_ex(('127.0.0.1', port))
      link.setblocking(True)
      link.sendall(f'hello secret {i}\n'.encode())
    heard = {helper.stdout.readline().strip() for _ in range(1, count)}
    assert heard == {f'here {i}' for i in range(1, count)}
    helper.kill()


@pytest.mark.parametrize(('code', 'is_told'), [(1, True), (0, False)])
def test_who_connects_late_learns_of_an_error(code, is_told):
  with subprocess.Popen(
      [sys.executable, heartbeats.__file__, '0', '', '0'],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      bufsize=1,
  ) as helper:
    helper.stdin.write(f'secret\nend {code}\n')
    port = int(helper.stdout.readline().split()[1])
    if not is_told:
      assert helper.wait(timeout=2) == 0
      return
    time.sleep(0.5)
    with socket.create_connection(('localhost', port)) as link:
      link.sendall(b'hello secret 1\n')
      assert link.recv(100) == b'end 0 1\n'
      link.sendall(b'end 1 1\n')
    assert helper.wait(timeout=5) == 0
