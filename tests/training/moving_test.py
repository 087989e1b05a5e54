"""A run continues on any mesh: the same parameters, the same next loss."""

import math

import jax
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from tests import moving
from tests import tiny

pytestmark = pytest.mark.slow

# The run was saved on eight devices that split the batch.
MESHES = (dict(data=8), dict(fsdp=4), dict(model=2), dict(data=1))


@pytest.mark.parametrize(
    ('stage', 'meshes'),
    [
        (2, [dict(fsdp=4), dict(data=1)]),
        *(
            pytest.param(stage, MESHES, marks=pytest.mark.drill)
            for stage in (1, 2)
        ),
    ],
)
def test_a_run_moves_from_eight_devices_to_any_mesh(stage, meshes, tmp_path):
  config, workdir = moving.copied(stage, tmp_path)
  saved, losses = tiny.saved_state(workdir), {}
  for shape in meshes:
    count = math.prod(shape.values())
    mesh = partitioning.make_mesh(shape, devices=jax.devices()[:count])
    params, losses[count] = moving.step(config, workdir, mesh)
    tiny.assert_trees_equal(params, saved['params'])
  for count, loss in losses.items():
    np.testing.assert_allclose(loss, losses[1], rtol=1e-6, err_msg=count)
