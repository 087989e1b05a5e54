"""Small caches of features, and what is in them."""

import numpy as np

from rq_jax.data.feature_cache import writer

SHAPE = (2, 3, 4)


def examples(count):
  """Features and labels of a split; the labels lie in [100, 200)."""
  rng = np.random.default_rng(0)
  values = rng.normal(size=(count, *SHAPE)).astype(np.float32)
  return values, 100 + np.arange(count) % 100


def open_writer(
    path, count, shard=0, num_shards=1, fingerprint='abc', num_classes=200
):
  """Opens a shard of the training split of such a cache."""
  return writer.Writer(
      path,
      split='train',
      num_examples=count,
      shape=SHAPE,
      num_classes=num_classes,
      fingerprint=fingerprint,
      shard=shard,
      num_shards=num_shards,
  )
