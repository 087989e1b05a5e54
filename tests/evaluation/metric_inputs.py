"""Features, logits and images for tests of metrics, drawn from fixed seeds.

`tests/fixtures/metrics/record.py` and `record_exact.py` gave the same arrays to
other tools and to 50-digit arithmetic.
"""

import zlib

import numpy as np

DIMENSIONS = 64
CLASSES = 32
# Numbers of generated and of real features.
SIZES = {
    'plain': (300, 400),
    'few': (20, 25),
    'few_against_many': (20, 400),
    'shifted': (300, 400),
    'coarse': (300, 400),
}
_MEANS = {'shifted': 300.0, 'coarse': 20.0}
# In small dimensions, for 50-digit arithmetic: (N, M, D).
SMALL_SIZES = {
    'small': (20, 30, 8),
    'small_few': (5, 6, 16),
    'small_few_against_many': (5, 40, 12),
    'small_shifted': (20, 30, 8),
}


def _rng(name):
  return np.random.default_rng(zlib.crc32(name.encode()))


def features(case):
  """Generated and real features of a case, as from a ReLU: float32[N, D]."""
  rng = _rng(case)
  scale = np.exp(rng.normal(size=DIMENSIONS) / 2)
  mean = _MEANS.get(case, 0.3)
  return [
      np.maximum(
          0, mean + shift + scale * rng.normal(size=(n, DIMENSIONS))
      ).astype(np.float32)
      for n, shift in zip(SIZES[case], (0.1, 0))
  ]


def small_features(case):
  """Two sets of features in small dimensions: float64[N, D]."""
  rng = _rng(case)
  first, second, dimensions = SMALL_SIZES[case]
  mean = 300.0 if case == 'small_shifted' else 0.0
  return [
      mean + shift + rng.normal(size=(n, dimensions))
      for n, shift in ((first, 0.2), (second, 0))
  ]


def logits(count=130, *, spread=2.0):
  """Logits of images, in which few classes dominate: float32[N, classes]."""
  drawn = _rng(f'logits{count}').normal(size=(count, CLASSES))
  return (spread * drawn).astype(np.float32)


def image_pairs():
  """Images and noisy copies, in colour, not square: uint8[4, 24, 32, 3]."""
  rng = _rng('images')
  coarse = rng.integers(0, 256, size=(4, 6, 8, 3))
  images = coarse.repeat(4, axis=1).repeat(4, axis=2)
  noise = rng.normal(
      scale=[[[[2]]], [[[10]]], [[[40]]], [[[90]]]], size=images.shape
  )
  return [np.clip(x, 0, 255).astype(np.uint8) for x in (images, images + noise)]
