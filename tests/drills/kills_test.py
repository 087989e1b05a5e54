"""Runs that are killed at random moments, many times over.

RQ_JAX_KILLS sets how often each stage is killed; the default is 20.
"""

import os
import random
import signal
import time

import pytest

from tests import tiny
from tests.training import resume_test

pytestmark = [pytest.mark.drill, pytest.mark.process]

KILLS = int(os.environ.get('RQ_JAX_KILLS', '20'))
STEPS = 60


def experiment(stage):
  """A GAN with averages, or a prior; it saves in every second step."""
  return tiny.changed(tiny.run_config(stage), train=dict(steps=STEPS))


@pytest.fixture(scope='module', params=[1, 2])
def whole(request, tmp_path_factory):
  """The stage, and the folder of a run that nothing disturbed."""
  folder = tmp_path_factory.mktemp('whole') / str(request.param)
  process = resume_test.start(experiment(request.param), folder)
  _, errors = process.communicate()
  assert process.returncode == 0, errors
  return request.param, folder


def kill(process, workdir, *, early):
  """Kills (-9) a run; returns the step of its newest checkpoint.

  Args:
    process: The run.
    workdir: Its folder.
    early: Whether to kill it at any time of its first 20 seconds, most of which
      it spends starting; otherwise around the save after the next.
  """
  if not early:
    return resume_test.kill_after_progress(process, workdir)
  time.sleep(random.uniform(0, 20))
  process.send_signal(signal.SIGKILL)
  process.communicate()
  return resume_test.newest(workdir)


def test_no_kill_changes_a_bit(whole, tmp_path):
  stage, folder = whole
  workdir, killed_at = tmp_path / 'killed', []
  while len(killed_at) < KILLS:
    process = resume_test.start(experiment(stage), workdir)
    early = len(killed_at) % 4 == 3
    killed_at.append(kill(process, workdir, early=early))
    print(f'stage {stage}: killed after step {killed_at[-1]}', flush=True)
    if killed_at[-1] >= STEPS - 4:  # Almost done: finish it, and start anew.
      finish(stage, workdir, folder)
      workdir = tmp_path / f'killed{len(killed_at)}'
  finish(stage, workdir, folder)
  print(f'stage {stage}: {KILLS} kills after the checkpoints {killed_at}')


def finish(stage, workdir, folder):
  """Ends a run, and compares it with the one that nothing disturbed."""
  process = resume_test.start(experiment(stage), workdir)
  _, errors = process.communicate()
  assert process.returncode == 0, errors
  tiny.assert_trees_equal(tiny.saved_state(workdir), tiny.saved_state(folder))
  assert tiny.metric_lines(workdir) == tiny.metric_lines(folder)
