"""A tiny classifier, and rejection jobs with it."""

import numpy as np

from rq_jax.jobs.sample import rejection
from tests.jobs import generators


class Classifier:
  """Ten classes, whose logits are products of the pixels with fixed noise."""

  num_classes = 10
  fingerprint = '0123456789abcdef'

  def __init__(self, scale=1.0):
    self.seen = []
    noise = np.random.default_rng(3).normal(size=(16 * 16 * 3, 10))
    self._weights = scale * noise.astype(np.float32) / 5

  def __call__(self, images):
    pixels = np.asarray(images)
    assert pixels.dtype == np.uint8 and pixels.shape[1:] == (16, 16, 3)
    self.seen.append(len(pixels))
    centred = pixels.reshape(len(pixels), -1) / np.float32(127.5) - 1
    # Unlike a product of matrices, this rounds alike in every row.
    return {'logits': (centred[:, :, None] * self._weights).sum(axis=1)}


def rule(rate=0.25, *, classifier=None, **fields):
  """How to choose, with the tiny classifier."""
  return rejection.Rejection(
      rate=rate,
      classifier=classifier or Classifier(),
      origin='classifier',
      **fields,
  )


def run(out, *, rate=0.25, classifier=None, classes=None, sampler=None, **more):
  """Runs a job of seven images, in chunks of three; returns its sentence."""
  fields = dict(kind='labels', values=[4, 2]) | more
  return generators.run(
      out,
      sampler or generators.labelled_sampler(),
      rejection=rule(rate, classifier=classifier, classes=classes),
      **fields,
  )
