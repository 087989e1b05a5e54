"""What a process says and does when another one has stopped."""

import io
import socket
import threading
import types

import pytest

from rq_jax.distributed import interrupts
from rq_jax.distributed import peers
from tests import processes


class Ended(BaseException):
  """Takes the place of the end of the process."""


@pytest.fixture
def listening(monkeypatch):
  """Returns what a process that hears some lines says, and its exit code."""

  def listen(*lines, index=1, ending=False):
    said, done = [], threading.Event()

    def end(code):
      said.append(code)
      done.set()
      raise Ended

    monkeypatch.setattr(interrupts, 'say', said.append)
    monkeypatch.setattr(interrupts, 'end_at_once', end)
    monkeypatch.setattr(peers, '_GRACE_SECONDS', 0.01)
    monkeypatch.setattr(peers, '_leaving', threading.Event())
    monkeypatch.setattr(threading, 'excepthook', lambda _: None)
    if ending:
      peers.finish(75)
    text = ''.join(f'{line}\n' for line in lines)
    helper = types.SimpleNamespace(stdout=io.StringIO(text))
    peers._Watch(helper, index)
    done.wait(1)
    return said

  return listen


@pytest.mark.parametrize(
    ('line', 'sentence', 'code'),
    [
        ('lost 2', 'Process 2 has sent no heartbeat for 20 s: it is st', 75),
        ('lost 0', 'The first process has sent no heartbeat', 75),
        ('lost 1', 'This process has sent no heartbeat', 75),
        ('gone 2', 'Process 2 has been killed or has crashed. Run the', 75),
        ('end 2 75', 'Process 2 has been interrupted. Run the same', 75),
        ('end 0 1', 'The first process has stopped with an error. Its', 1),
    ],
)
def test_a_process_leaves_with_a_sentence_about_the_other(
    line, sentence, code, listening
):
  text, found = listening('here 2', line)
  assert text.startswith(f'\nError: {sentence}')
  assert ('command again, in all processes' in text) == (code == 75)
  assert found == code


def test_a_process_that_has_finished_stops_nobody(listening):
  assert not listening('here 2', 'here 3', 'end 2 0')


def test_a_process_that_ends_says_only_its_own_reason(listening, monkeypatch):
  monkeypatch.setattr(peers, '_watch', None)
  monkeypatch.setattr(peers, '_GRACE_SECONDS', 0.01)
  assert not listening('end 2 75', ending=True)


def test_only_a_warning_follows_where_heartbeats_cannot_come(listening, caplog):
  assert not listening('unreachable')
  assert 'set the environment variable RQ_JAX_HEARTBEAT_PORT' in caplog.text


def test_only_a_warning_follows_when_the_helper_ends(listening, caplog):
  assert not listening('here 2')
  assert 'does not run: it has ended' in caplog.text


@pytest.fixture
def joined(monkeypatch):
  """Returns what the first process publishes, and the index to join with."""
  values = {}
  state = types.SimpleNamespace(
      process_id=0,
      num_processes=2,
      coordinator_address='localhost:1',
      client=types.SimpleNamespace(
          key_value_set=values.__setitem__,
          blocking_key_value_get=lambda key, _: values[key],
      ),
  )
  monkeypatch.setattr('jax._src.distributed.global_state', state)
  return values, state


@pytest.mark.process
def test_without_helpers_processes_only_warn(joined, monkeypatch, caplog):
  monkeypatch.setattr(peers.sys, 'executable', '/nowhere/python')
  peers.watch()
  assert caplog.text.count('does not run') == 1
  assert '/nowhere/python' in caplog.text
  joined[1].process_id = 1
  peers.watch()  # It tries nothing.
  assert caplog.text.count('does not run') == 1
  assert peers._watch is None


@pytest.mark.process
def test_a_port_that_cannot_be_opened_stops_all_processes(joined, monkeypatch):
  with socket.create_server(('', 0)) as server:
    port = server.getsockname()[1]
    monkeypatch.setenv(peers.PORT, str(port))
    with pytest.raises(ValueError, match=f'PORT={port} .* Address already in'):
      peers.watch()
  joined[1].process_id = 1
  with pytest.raises(ValueError, match='The first process has stopped'):
    peers.watch()


@pytest.mark.process
def test_an_abort_waits_until_the_process_ends_in_its_own_way():
  program = """
import ctypes, os, threading, time
from rq_jax.distributed import peers
from tests import processes

peers._delay_aborts()
threading.Thread(target=ctypes.CDLL(None).abort, daemon=True).start()
time.sleep(1)
os._exit(75)
"""
  ((code, _, _),) = processes.end([processes.start(program)])
  assert code == 75
