"""Two processes with two devices each train as one process does."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np

from rq_jax import checkpoint
from rq_jax import config as config_lib
from rq_jax.tokenizer import Tokenizer
from tests import tiny

ROOT = pathlib.Path(__file__).resolve().parents[2]

PROGRAM = """
import json, pathlib, sys
import jax

address, index, text, workdir = sys.argv[1:]
jax.distributed.initialize(address, 2, int(index))
from rq_jax import config
from rq_jax.training import experiment

results = experiment.train(config.check(json.loads(text)), workdir)
print(json.dumps(results))
"""


def train(config, workdir):
  """What both processes return."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    address = f'localhost:{free.getsockname()[1]}'
  flags = (
      '--xla_force_host_platform_device_count=2'
      ' --xla_backend_optimization_level=0'
  )
  processes = [
      subprocess.Popen(
          [
              sys.executable,
              '-c',
              PROGRAM,
              address,
              str(index),
              config_lib.to_json(config),
              workdir,
          ],
          cwd=ROOT,
          env=os.environ | {'XLA_FLAGS': flags},
          stdout=subprocess.PIPE,
          stderr=subprocess.DEVNULL,
          text=True,
      )
      for index in range(2)
  ]
  try:
    outputs = [process.communicate(timeout=300)[0] for process in processes]
  finally:
    for process in processes:
      process.kill()
  assert [process.returncode for process in processes] == [0, 0]
  return [json.loads(output.splitlines()[-1]) for output in outputs]


def test_two_processes_take_the_step_that_one_takes(tmp_path):
  config = tiny.run_config(2)
  config.train.steps = 1
  first, second = train(config, tmp_path / 'run')
  assert first == second
  (line, evaluated) = tiny.metric_lines(tmp_path / 'run')
  assert evaluated == {'step': 1} | first
  (expected, *_) = tiny.metric_lines(tiny.finished_run(2))
  assert line.keys() == expected.keys()
  for name, value in expected.items():
    # Sums over four devices rather than eight, in float32.
    np.testing.assert_allclose(line[name], value, rtol=1e-4, err_msg=name)
  # One of them has left a copy of the tokenizer, while both had it to use.
  copy = Tokenizer.restore(str(tmp_path / 'run' / 'tokenizer'), verbose=False)
  checkpoint.check_fingerprint(tmp_path / 'run/tokenizer', copy.fingerprint)
  checkpoint.check_fingerprint(
      tiny.finished_run(2) / 'tokenizer', copy.fingerprint
  )
