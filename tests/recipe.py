"""Random weights, by a rule, of networks that are too large to record; images.

Every array has its own stream of random numbers, which follows from the seed
and the array's name. So the shapes are enough to draw the weights again.
"""

import zlib

import numpy as np


def weights(seed, shapes):
  """Arrays by name, in PyTorch's layouts, from their shapes by name."""
  return {
      name: _draw(seed, name, shape, f'{_module(name)}.running_var' in shapes)
      for name, shape in shapes.items()
  }


def _module(name):
  return name.rpartition('.')[0]


def _draw(seed, name, shape, is_norm):
  """Numbers of a size that keeps activations equally large in all layers.

  `is_norm` says whether the array belongs to a batch normalization.
  """
  rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
  uniform = rng.random(shape)
  centred = (2 * uniform - 1) * np.sqrt(3)  # Variance 1.
  kind = name.rpartition('.')[2] if is_norm else 'other'
  if name.startswith('lin') and name.endswith('model.1.weight'):
    value = uniform / shape[1] * 10  # Weights of distances are not negative.
  elif len(shape) > 1:
    value = centred * np.sqrt(2 / np.prod(shape[1:]))
  elif kind == 'weight':
    value = 0.75 + 0.5 * uniform
  elif kind == 'running_var':
    value = 0.5 + uniform
  elif kind in ('bias', 'running_mean'):
    value = 0.2 * centred
  else:
    value = 0.1 * centred
  return value.astype(np.float32)


def image(height, width, seed=1234):
  """Blocks of colours with noise: uint8[height, width, 3]."""
  rng = np.random.default_rng([seed, height, width])
  colours = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3))
  blocks = np.kron(colours, np.ones((8, 8, 1)))[:height, :width]
  noise = rng.integers(-40, 41, blocks.shape)
  return np.clip(blocks + noise, 0, 255).astype(np.uint8)
