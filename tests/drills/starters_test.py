"""Two programs start in one workdir; the winner is killed at random.

RQ_JAX_PAIRS sets the number of pairs; the default is 50.
"""

import os
import random
import signal
import time

import pytest

from tests import tiny
from tests.training import resume_test

pytestmark = [pytest.mark.drill, pytest.mark.process]

PAIRS = int(os.environ.get('RQ_JAX_PAIRS', '50'))


def test_one_of_two_starters_is_refused_and_nothing_is_lost(tmp_path):
  whole = tmp_path / 'whole'
  experiment = tiny.changed(
      tiny.run_config(1), train=dict(steps=4000, checkpoint_steps=4)
  )
  workdir, newest = tmp_path / 'run', 0
  for pair in range(PAIRS):
    started = [resume_test.start(experiment, workdir) for _ in range(2)]
    while all(process.poll() is None for process in started):
      time.sleep(0.01)
    ended = [process.poll() is not None for process in started]
    assert sum(ended) == 1, pair
    _, errors = started[ended.index(True)].communicate()
    assert 'is in use: process' in errors, errors
    winner = started[ended.index(False)]
    time.sleep(random.uniform(0, 25))  # It starts in about 6 seconds.
    winner.send_signal(signal.SIGKILL)
    winner.communicate()
    # No checkpoint is lost, and none is left half-written in its place.
    assert resume_test.newest(workdir) >= newest, pair
    newest = resume_test.newest(workdir)
  last = tiny.changed(experiment, train=dict(steps=newest + 8))
  for folder in (workdir, whole):
    ending = resume_test.start(last, folder)
    _, errors = ending.communicate()
    assert ending.returncode == 0, errors
  tiny.assert_trees_equal(tiny.saved_state(workdir), tiny.saved_state(whole))
  print(f'{PAIRS} pairs, up to step {newest}')
