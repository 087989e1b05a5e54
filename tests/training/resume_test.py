"""A run that is killed at any moment ends bit-identical to one that is not."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from rq_jax import config
from tests import tiny

pytestmark = pytest.mark.process

ROOT = pathlib.Path(__file__).resolve().parents[2]
KILLS = 2

PROGRAM = """
import json, pathlib, sys
from rq_jax import config
from rq_jax.training import run

text = pathlib.Path(sys.argv[1]).read_text()
run.train(config.parse(json.loads(text)), sys.argv[2])
"""


def start(experiment, workdir, **variables):
  """Starts the training in a process of its own."""
  file = workdir.with_suffix('.json')
  file.write_text(config.to_json(experiment))
  return subprocess.Popen(
      [sys.executable, '-c', PROGRAM, file, workdir],
      cwd=ROOT,
      env=os.environ | variables,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
  )


def newest(workdir):
  """Step of the newest complete checkpoint; 0 if there is none."""
  folder = workdir / 'checkpoints'
  names = os.listdir(folder) if folder.exists() else []
  return max((int(name) for name in names if name.isdigit()), default=0)


def kill_after_progress(process, workdir):
  """Kills (-9) a run some time after a new checkpoint; returns its step."""
  before = newest(workdir)
  while newest(workdir) == before and process.poll() is None:
    time.sleep(0.005)
  # At most about the time that the run needs for two more checkpoints.
  time.sleep(random.uniform(0, 0.3))
  process.send_signal(signal.SIGKILL)
  process.communicate()
  return newest(workdir)


@pytest.mark.parametrize('stage', [1, 2])
def test_a_run_that_was_killed_ends_bit_identical_also_under_x64(
    stage, tmp_path
):
  whole = tiny.finished_run(stage)
  workdir = tmp_path / 'killed'
  experiment = tiny.run_config(stage)
  killed_at = []
  for _ in range(KILLS):
    process = start(experiment, workdir)
    killed_at.append(kill_after_progress(process, workdir))
  assert killed_at[0] > 0
  # The rest runs with a variable that must change none of our dtypes.
  process = start(experiment, workdir, JAX_ENABLE_X64='1')
  _, errors = process.communicate(timeout=300)
  assert process.returncode == 0, errors
  expected, state = tiny.saved_state(whole), tiny.saved_state(workdir)
  assert expected['step'] == 12
  tiny.assert_trees_equal(state, expected)
  for name in ('opt_state', 'ema_params', 'rng'):
    assert np.any(np.concatenate(
        [np.ravel(x) for x in tiny.jax.tree.leaves(state[name])]
    )), name  # fmt: skip
  assert tiny.metric_lines(workdir) == tiny.metric_lines(whole), killed_at
