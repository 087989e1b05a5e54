"""VGG16 against a recording of torchvision, with random weights."""

import math

import jax
import numpy as np
import pytest

from rq_jax.conversion import mapping
from rq_jax.models import build
from rq_jax.models import lpips
from rq_jax.models import vgg
from tests import classifiers
from tests import official


@pytest.mark.slow
def test_features_and_logits_are_those_of_torchvision():
  module, variables = classifiers.recorded('vgg16')
  recording = official.recording('vgg16')
  x = classifiers.floats(recording['x'])
  large = np.repeat(np.repeat(x, 4, axis=1), 4, axis=2)
  found = jax.jit(module.apply)(variables, large)
  for name in ('fc2', 'logits'):
    scale = np.max(np.abs(recording[name]))
    np.testing.assert_allclose(
        found[name] / scale, recording[name] / scale, rtol=1e-5, atol=1e-5
    )
  assert np.min(found['fc2']) == 0  # After the ReLU.


def test_the_number_of_parameters_is_the_published_one():
  shapes = classifiers.shapes(vgg.VGG16())
  assert sum(map(math.prod, shapes.values())) == 138_357_544


def test_its_convolutions_are_those_of_lpips():
  ours = classifiers.shapes(vgg.VGG16())
  others = mapping.shapes(build.lpips_variables(lpips.LPIPS()))
  shared = {n: s for n, s in ours.items() if '/conv_' in n}
  assert len(shared) == 26
  assert shared == {n: s for n, s in others.items() if '/conv_' in n}


def test_images_of_another_size_are_refused():
  with pytest.raises(AssertionError, match='224, 224, 3'):
    jax.eval_shape(
        vgg.VGG16().init, jax.random.key(0), np.zeros((1, 256, 256, 3), 'f4')
    )
