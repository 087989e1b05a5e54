"""Batches of a run: the rows of this process, as the experiment asks."""

from typing import Any

import jax

from rq_jax.config import Experiment
from rq_jax.data import batching
from rq_jax.data import loader
from rq_jax.data import sources


def training(
    source: sources.Source, config: Experiment, *, step: int
) -> batching.Batches:
  """Endless batches to train on, from the one after `step`."""
  return loader.train_batches(
      source,
      seed=config.seed,
      step=step,
      workers=config.data.workers,
      **_reading(config, train=True),
  )


def indices(
    source: sources.Source, config: Experiment, *, step: int
) -> list[int]:
  """Indices of the examples in the batch after `step`, of all processes."""
  return loader.train_indices(
      len(source),
      batch_size=config.data.batch_size,
      seed=config.seed,
      step=step,
  )


def held_out(
    source: sources.Source, config: Experiment, *, count: int
) -> batching.Batches:
  """One pass over the first `count` examples; see `loader.eval_batches`."""
  return loader.eval_batches(
      source, count=count, **_reading(config, train=False)
  )


def _reading(config: Experiment, *, train: bool) -> dict[str, Any]:
  """Arguments that the loader takes for both splits."""
  data = config.data
  return dict(
      transform=loader.image_transform(data, train=train),
      batch_size=data.batch_size,
      max_errors=loader.error_limit(data),
      process_index=jax.process_index(),
      process_count=jax.process_count(),
  )
