"""Fixtures that tests of images share."""

from PIL import Image
import pytest
from sklearn import datasets

from tests.data import pictures


@pytest.fixture(scope='module')
def photo():
  """A real photograph, reduced to 90x60 pixels."""
  image = datasets.load_sample_images().images[0]
  return Image.fromarray(image).resize(pictures.SIZE)
