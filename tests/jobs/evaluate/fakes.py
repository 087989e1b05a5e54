"""Images, and a network that takes their mean colours."""

import numpy as np

from rq_jax.jobs.evaluate import networks


def images(count, seed=0, size=16):
  """Random images, uint8[count, size, size, 3]."""
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (count, size, size, 3), np.uint8)


def colours(pixels):
  """Mean colours and their differences, float64[n, 3] and float64[n, 4]."""
  pool = pixels.mean(axis=(1, 2)) / 255
  logits = np.concatenate([pool, pool[:, :1] - pool[:, 1:2]], axis=1)
  return {'pool': pool, 'logits': 20 * logits}


def network(widths, extract=colours, name='inception_bilinear_tensorflow1'):
  return networks.Network(
      name=name, widths=widths, extract=extract, described={'weights': 'none'}
  )
