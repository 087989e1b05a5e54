"""One of several processes is lost: the others leave, and a relaunch ends well.

The proxy cuts off heartbeats and JAX's coordination, but not collectives.
"""

import functools
import signal
import time

import pytest

from rq_jax.checkpoints import steps
from tests import processes
from tests import tcp_proxy
from tests import tiny
from tests import tiny_flags

pytestmark = [pytest.mark.process, pytest.mark.drill]

# Steps are slow, because those of a process that is cut off continue.
PROGRAM = """
import time
from rq_jax import __main__
from rq_jax.distributed import partitioning

join = partitioning.global_batch

def slow(*arguments):
  time.sleep(0.25)
  return join(*arguments)

partitioning.global_batch = slow
__main__.program()
"""
STEPS = 120


def start(workdir, count, *, cut=None):
  """Starts the processes of a run; one is behind proxies if `cut` is set."""
  ports = [processes.free_port(), processes.free_port()]
  proxies = [] if cut is None else [tcp_proxy.Proxy(port) for port in ports]
  started = []
  for index in range(count):
    used = [p.port for p in proxies] if index == cut else ports
    started.append(
        processes.start(
            PROGRAM,
            *('train', *tiny_flags.FLAGS, f'--workdir={workdir}'),
            f'--config.train.steps={STEPS}',
            '--config.train.checkpoint_steps=4',
            '--config.train.eval_images=8',
            '--config.optimizer.ema_decay=0.9',
            f'--coordinator=localhost:{used[0]}',
            *(f'--processes={count}', f'--process={index}'),
            devices=4 // count,
            variables={'RQ_JAX_HEARTBEAT_PORT': str(used[1])},
        )
    )
  return started, proxies


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """Returns the folder of an undisturbed run in some processes."""

  @functools.cache
  def train(count):
    workdir = tmp_path_factory.mktemp('whole') / 'run'
    ended = processes.end(start(workdir, count)[0])
    assert [code for code, _, _ in ended] == [0] * count, ended
    return workdir

  return train


@pytest.mark.parametrize('how', ['killed', 'stopped', 'cut off'])
@pytest.mark.parametrize(('count', 'victim'), [(2, 0), (2, 1), (4, 0), (4, 2)])
def test_the_others_leave_and_a_relaunch_ends_bit_identical(
    how, count, victim, whole, tmp_path, record_property
):
  if how == 'cut off' and not victim:
    pytest.skip('All others would be cut off.')
  workdir = tmp_path / 'run'
  cut = victim if how == 'cut off' else None
  started, proxies = start(workdir, count, cut=cut)
  others = [p for i, p in enumerate(started) if i != victim]
  while not steps.finished(workdir) and others[0].poll() is None:
    time.sleep(0.05)
  assert others[0].poll() is None, processes.end(started)
  begun = time.monotonic()
  if how == 'killed':
    started[victim].kill()
  elif how == 'stopped':
    started[victim].send_signal(signal.SIGSTOP)
  for proxy in proxies:
    proxy.cut()
  ended = processes.end(others)
  seconds = time.monotonic() - begun
  processes.end([started[victim]], signal.SIGKILL)
  record_property('seconds', seconds)
  print(
      f'{how}, process {victim} of {count}: others left after {seconds:.1f} s'
  )
  assert seconds < 35
  for code, _, error in ended:
    assert code == 75, error
    (sentence,) = [x for x in error.splitlines() if x.startswith('Error: ')]
    assert sentence.endswith('command again, in all processes, to resume.')
    who = f'Process {victim}' if victim else 'The first process'
    assert who in sentence
    assert 'Traceback' not in error and 'stack' not in error
  assert steps.find(workdir, None) < STEPS
  again = processes.end(start(workdir, count)[0])
  assert [code for code, _, _ in again] == [0] * count, again
  tiny.assert_trees_equal(
      tiny.saved_state(workdir), tiny.saved_state(whole(count))
  )
