"""Digits that are cropped and mirrored at random, and their views."""

import numpy as np

from rq_jax.data import transforms
from rq_jax.data.sources import digits
from tests import tiny

SEED = 7


def data(**fields):
  """Digits that are cropped at random; their side is larger than the crop."""
  fields = dict(crop='random_resized', flip=True, batch_size=96) | fields
  return tiny.stage1_config(data=fields).data


def view(index, number):
  """A view of a digit, from the transform that training uses."""
  return transforms.train(
      digits.Digits('train', tiny.SIZE)[index]['image'],
      np.random.default_rng((SEED, number, index)),
      image_size=tiny.SIZE,
      crop='random_resized',
      flip=True,
  )
