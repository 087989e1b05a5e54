"""Features from pixels on, against torch-fidelity with drawn weights.

For pixels of pytorch-fid and the authors, `tests/models/inception_test.py`
compares the features.
"""

import jax
import numpy as np
import pytest

from rq_jax.evaluation import dialects
from rq_jax.evaluation import resizing
from rq_jax.models import inception
from tests import official

pytestmark = pytest.mark.slow


def test_features_of_torch_fidelity_are_those_of_the_tool():
  weights = official.drawn_weights('inception')
  recorded = official.recording('inception')
  dialect = dialects.DIALECTS['torch-fidelity']

  @jax.jit
  def compute(variables, images):
    pixels = resizing.METHODS[dialect.resize](images, resizing.INCEPTION_SIZE)
    scaled = resizing.SCALES[dialect.scale](pixels)
    return inception.InceptionV3().apply(variables, scaled)

  image = official.images(recorded['img0'][:1])
  found = compute(official.inception_variables(weights), image)
  with np.load(official.FIXTURES / 'torch_fidelity' / 'io.npz') as tool:
    for key in ('pool', 'unbiased_logits'):
      np.testing.assert_allclose(found[key], tool[key], rtol=1e-5, atol=1e-5)
  # Other dialects differ by far more than rounding.
  assert np.abs(found['pool'] - recorded['feat0'][:1]).max() > 0.01
