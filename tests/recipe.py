"""Weights of networks that are too large for recordings, drawn by a rule.

Every array has a stream of random numbers of its own, which the seed and the
array's name choose. Whoever knows the shapes can draw them again.
"""

import zlib

import numpy as np


def weights(seed, shapes):
  """Arrays by name, in PyTorch's layouts, from their shapes by name."""
  return {name: _draw(seed, name, shape) for name, shape in shapes.items()}


def _draw(seed, name, shape):
  """Numbers of such a size that activations keep theirs from layer to layer."""
  rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
  uniform = rng.random(shape)
  centred = (2 * uniform - 1) * np.sqrt(3)  # Of variance 1.
  kind = '.'.join(name.split('.')[-2:])
  if name.startswith('lin') and name.endswith('model.1.weight'):
    value = uniform / shape[1] * 10  # Weights of distances are not negative.
  elif len(shape) > 1:
    value = centred * np.sqrt(2 / np.prod(shape[1:]))
  elif kind == 'bn.weight':
    value = 0.75 + 0.5 * uniform
  elif kind == 'bn.running_var':
    value = 0.5 + uniform
  elif kind in ('bn.bias', 'bn.running_mean'):
    value = 0.2 * centred
  else:
    value = 0.1 * centred
  return value.astype(np.float32)
