"""A second start finds the programs of the first, and trains the same model."""

import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from rq_jax import compilation
from rq_jax import config as config_lib
from rq_jax.jobs import train
from tests import tiny

ROOT = pathlib.Path(__file__).resolve().parents[2]

PROGRAM = """
import collections, json, sys
import jax
from rq_jax import config
from rq_jax.jobs import train

counts = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: counts.update([name]))
train.train(config.parse(json.loads(sys.argv[1])), sys.argv[2])
for name in ('compile_requests_use_cache', 'cache_hits'):
  print(counts[f'/jax/compilation_cache/{name}'])
"""


def start(workdir, programs):
  """Trains a few steps in a process of its own: (programs, found on disk)."""
  unset = ('JAX_COMPILATION', 'JAX_PERSISTENT')
  env = {k: v for k, v in os.environ.items() if not k.startswith(unset)}
  # One device and one level compile fastest.
  flags = re.sub(r'(?<=device_count=)\d+', '1', os.environ['XLA_FLAGS'])
  experiment = tiny.stage1_config(
      model=dict(channel_multipliers=(1,), attention_resolutions=()),
      train=dict(steps=3, log_steps=1, eval_images=8),
  )
  output = subprocess.run(
      [sys.executable, '-c', PROGRAM, config_lib.to_json(experiment), workdir],
      cwd=ROOT,
      env=env | {'RQ_JAX_COMPILATION_CACHE': str(programs), 'XLA_FLAGS': flags},
      capture_output=True,
      text=True,
      check=True,
  ).stdout
  return tuple(int(line) for line in output.splitlines()[-2:])


@pytest.mark.process
def test_a_second_start_compiles_nothing_and_trains_the_same(tmp_path):
  cold, none = start(tmp_path / 'a', tmp_path / 'programs')
  warm, found = start(tmp_path / 'b', tmp_path / 'programs')
  assert cold > 0 and none == 0
  assert found == warm == cold
  assert tiny.metric_lines(tmp_path / 'a') == tiny.metric_lines(tmp_path / 'b')
  one, other = (tiny.saved_state(tmp_path / name) for name in 'ab')
  jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize('count', [1, 2])
def test_several_processes_use_no_folder_that_only_one_host_may_have(
    count, monkeypatch
):
  calls = []
  monkeypatch.setattr(jax, 'process_count', lambda: count)
  monkeypatch.setattr(compilation, 'keep', lambda **how: calls.append(how))
  monkeypatch.setattr(
      train.run,
      'train',
      lambda *given, **more: calls.append((*given, more)) or {'loss': 1.0},
  )
  assert train.train('experiment', 'workdir', profile=3) == {'loss': 1.0}
  # Before anything is compiled.
  assert calls == [
      {'by_default': count == 1},
      ('experiment', 'workdir', {'profile': 3}),
  ]
