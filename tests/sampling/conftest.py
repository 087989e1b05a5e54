"""What tests of samplers share: the folder of a run."""

import pytest

from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import runs
from rq_jax.checkpoints import stored
from tests import tiny
from tests.sampling import models


@pytest.fixture(scope='session')
def workdir(tmp_path_factory):
  """The folder of a stage-2 run; all its parameters differ from each other."""
  path = tmp_path_factory.mktemp('run')
  tokenizer = models.random_tokenizer()
  inference_copy.export(
      path / 'tokenizer', tiny.stage1_config(), tokenizer.variables
  )
  stored.write_config(path, tiny.stage2_config())
  with runs.Checkpoints(path, keep=2) as checkpoints:
    for step in (0, 1):
      state = {
          'params': models.run_variables(2 * step)['params'],
          'ema_params': models.run_variables(2 * step + 1)['params'],
      }
      checkpoints.save(step, state, {})
  return path
