"""Datasets that TFDS itself prepares, without TensorFlow and network."""

import io
import sys

import numpy as np
from PIL import Image
import tensorflow_datasets as tfds

FEATURES = {
    'image': tfds.features.Image(encoding_format='jpeg'),
    'label': tfds.features.ClassLabel(names=['cat', 'dog', 'owl']),
}


def picture(number, kind='JPEG'):
  """The content of an image file whose pixels depend on its number."""
  rng = np.random.default_rng(number)
  pixels = rng.integers(0, 256, (12 + number, 20, 3), np.uint8)
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, kind)
  return buffer.getvalue()


def pixels_of(content):
  """The pixels of an image file, uint8[h, w, 3]."""
  image = Image.open(io.BytesIO(content), formats=('JPEG', 'PNG', 'WEBP'))
  return np.asarray(image.convert('RGB'))


class Toy(tfds.core.GeneratorBasedBuilder):
  """A dataset of given examples."""

  VERSION = tfds.core.Version('1.0.0')
  features = FEATURES
  splits = {}

  def _info(self):
    features = tfds.features.FeaturesDict(self.features)
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, _):
    return {name: self._generate_examples(name) for name in self.splits}

  def _generate_examples(self, name):
    yield from enumerate(self.splits[name])


def write(folder, splits, features=FEATURES):
  """Writes a dataset `toy` below a folder; returns the folder of its version.

  Args:
    folder: Folder of all datasets.
    splits: Examples by the name of their split.
    features: Features by name.
  """
  Toy.features, Toy.splits = features, splits  # TFDS makes copies of builders.
  Toy(data_dir=str(folder), file_format='array_record').download_and_prepare()
  assert 'tensorflow' not in sys.modules
  return folder / 'toy' / '1.0.0'


def examples(numbers, **more):
  """Examples with images and labels; `more` are functions of the number."""
  return [
      {'image': io.BytesIO(picture(number)), 'label': number % 3}
      | {name: function(number) for name, function in more.items()}
      for number in numbers
  ]
