"""Features from pixels on, against those of two tools with drawn weights."""

import jax
import numpy as np
import pytest

from rq_jax.evaluation import dialects
from rq_jax.evaluation import resizing
from rq_jax.models import inception
from tests import official

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def features():
  """Outputs of Inception by dialect, for one image."""
  weights = official.drawn_weights('inception')
  images = official.images(official.recording('inception')['img0'][:1])
  names = ('rq', 'torch-fidelity')

  @jax.jit
  def compute(variables, images):
    pixels = [
        resizing.SCALES[dialect.scale](resizing.METHODS[dialect.resize](images))
        for dialect in map(dialects.find, names)
    ]
    batch = jax.numpy.concatenate(pixels)
    return inception.InceptionV3().apply(variables, batch)

  found = compute(official.inception_variables(weights), images)
  return {
      name: {key: np.asarray(value)[i] for key, value in found.items()}
      for i, name in enumerate(names)
  }


def test_features_of_rq_are_those_of_the_authors_code(features):
  recorded = official.recording('inception')
  for ours, theirs in {'pool': 'feat0', 'logits': 'logits0'}.items():
    np.testing.assert_allclose(
        features['rq'][ours], recorded[theirs][0], rtol=1e-5, atol=1e-5
    )


def test_features_of_torch_fidelity_are_those_of_the_tool(features):
  with np.load(official.FIXTURES / 'torch_fidelity' / 'io.npz') as recorded:
    for key in ('pool', 'unbiased_logits'):
      np.testing.assert_allclose(
          features['torch-fidelity'][key],
          recorded[key][0],
          rtol=1e-5,
          atol=1e-5,
      )


def test_the_dialects_differ_by_far_more_than_rounding(features):
  rq, fidelity = (features[name]['pool'] for name in features)
  assert np.abs(rq - fidelity).max() > 0.01
