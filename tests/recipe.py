"""Random weights, by a rule, of networks that are too large to record.

Every array has its own stream of random numbers, which follows from the seed
and the array's name. So the shapes are enough to draw the weights again.
"""

import re
import zlib

import numpy as np


def weights(seed, shapes):
  """Arrays by name, in PyTorch's layouts, from their shapes by name."""
  return {name: _draw(seed, name, shape) for name, shape in shapes.items()}


def _draw(seed, name, shape):
  """Numbers of a size that keeps activations equally large in all layers."""
  rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
  uniform = rng.random(shape)
  centred = (2 * uniform - 1) * np.sqrt(3)  # Variance 1.
  kind = '.'.join(name.split('.')[-2:])
  if name.startswith('lin') and name.endswith('model.1.weight'):
    value = uniform / shape[1] * 10  # Weights of distances are not negative.
  elif len(shape) > 1:
    value = centred * np.sqrt(2 / np.prod(shape[1:]))
  elif kind == 'bn.weight' or re.search(r'norm\d?\.weight$', name):
    value = 0.75 + 0.5 * uniform
  elif kind == 'bn.running_var':
    value = 0.5 + uniform
  elif kind in ('bn.bias', 'bn.running_mean'):
    value = 0.2 * centred
  else:
    value = 0.1 * centred
  return value.astype(np.float32)
