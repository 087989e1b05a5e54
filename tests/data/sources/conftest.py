"""Photographs for the tests of sources."""

import numpy as np
from PIL import Image
import pytest
from sklearn import datasets


@pytest.fixture(scope='session')
def photos():
  """Two real photographs, reduced to uint8[60, 90, 3]."""
  return [
      np.asarray(Image.fromarray(image).resize((90, 60)))
      for image in datasets.load_sample_images().images
  ]
