"""ResNets against recordings of torchvision, with random weights."""

import math

import jax
import numpy as np
import pytest

from rq_jax.models import resnet
from tests import classifiers
from tests import official


@pytest.mark.slow
@pytest.mark.parametrize('depth', [18, 50])
def test_features_and_logits_are_those_of_torchvision(depth):
  module, variables = classifiers.recorded(f'resnet{depth}')
  recording = official.recording(f'resnet{depth}')
  assert module == resnet.ResNet(depth)
  images = classifiers.floats(recording['x'])
  found = jax.jit(module.apply)(variables, images)
  assert found.keys() == {'pool', 'logits'}
  for name, array in found.items():
    # Weights are random, so values grow with the depth.
    scale = np.max(np.abs(recording[name]))
    np.testing.assert_allclose(
        array / scale, recording[name] / scale, rtol=1e-5, atol=1e-5
    )


# Parameters in torchvision's documentation; statistics do not count there.
@pytest.mark.parametrize(
    'depth, parameters',
    [
        (18, 11_689_512),
        (34, 21_797_672),
        (50, 25_557_032),
        (101, 44_549_160),
        (152, 60_192_808),
    ],
)
def test_the_number_of_parameters_is_the_published_one(depth, parameters):
  counts = [
      math.prod(shape)
      for name, shape in classifiers.shapes(resnet.ResNet(depth)).items()
      if not name.endswith(('/mean', '/var'))
  ]
  assert sum(counts) == parameters
