"""A run continues in another number of processes: 2, then 1, then 4."""

import json

import jax
import numpy as np
import pytest

from rq_jax import config as config_lib
from rq_jax.distributed import partitioning
from tests import moving
from tests import processes
from tests import tiny

pytestmark = [pytest.mark.process, pytest.mark.drill]

PROGRAM = """
import json, sys
import jax

address, count, index, text, workdir, shape = sys.argv[1:]
if int(count) > 1:
  jax.distributed.initialize(address, int(count), int(index))
from rq_jax import config
from rq_jax.distributed import partitioning
from tests import moving

mesh = partitioning.make_mesh(json.loads(shape))
params, loss = moving.step(
    config.parse(json.loads(text)), workdir, mesh, save=True)
print(json.dumps([moving.digest(params), loss]))
"""


def step(text, workdir, count, shape):
  """Continues in some processes of two devices; returns what all print."""
  address = f'localhost:{processes.free_port()}'
  started = [
      processes.start(
          PROGRAM,
          *(address, count, index, text, workdir, json.dumps(shape)),
          devices=2,
      )
      for index in range(count)
  ]
  ended = processes.end(started)
  assert [code for code, _, _ in ended] == [0] * count, ended
  found = [json.loads(output.splitlines()[-1]) for _, output, _ in ended]
  assert all(each == found[0] for each in found)
  return found[0]


@pytest.mark.parametrize('stage', [1, 2])
def test_a_run_moves_between_numbers_of_processes(stage, tmp_path):
  experiment, workdir = moving.copied(stage, tmp_path)
  text = config_lib.to_json(experiment)
  one = partitioning.make_mesh(dict(data=1), devices=jax.devices()[:1])
  for count, shape in (
      (2, dict(data=2, fsdp=2)),
      (1, dict(model=2)),
      (4, dict(data=4, fsdp=2)),
  ):
    _, expected = moving.step(experiment, workdir, one)
    saved = tiny.saved_state(workdir)['params']
    found, loss = step(text, workdir, count, shape)
    assert found == moving.digest(saved)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
