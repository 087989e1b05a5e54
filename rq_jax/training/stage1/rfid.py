"""rFID: the distance of reconstructions from their originals, as sets."""

from collections.abc import Callable, Iterator
import contextlib

import jax
import numpy as np

from rq_jax import compiler_options
from rq_jax import tokenizer
from rq_jax.config import RQVAEExperiment
from rq_jax.config import sections
from rq_jax.data import sources
from rq_jax.distributed import partitioning
from rq_jax.evaluation import frechet
from rq_jax.evaluation import moments
from rq_jax.training import batches as batches_lib
from rq_jax.training import inception
from rq_jax.training import stage1
from rq_jax.training.stage1 import State
from rq_jax.training.stage1 import Task
from rq_jax.typing import Batch


def judge(
    task: Task,
    config: RQVAEExperiment,
    mesh: jax.sharding.Mesh,
    held_out: sources.Source,
) -> Callable[[State], dict[str, float]]:
  """A function from a state to its rFID, if the experiment asks for it.

  The rFID is that of `evaluate --reference=rfid` on the first
  `train.eval_samples` examples, but at most `train.eval_images`. Examples that
  replace broken ones are left out. The first evaluation computes the moments of
  the originals, and later ones reuse them.

  Args:
    task: Everything that stays fixed over the run.
    config: A checked experiment.
    mesh: Mesh of the devices that reconstruct the images.
    held_out: Examples to evaluate on.

  Raises:
    ValueError: If the network cannot be read, or there are fewer than two
      images.
  """
  train = config.train
  if not train.eval_samples:
    return lambda _: {}
  count = _count(train, len(held_out))
  extractor = inception.restore(train)
  pairs = compiler_options.Jitted(
      _pairs,
      compiler_options.convolutions,
      out_shardings=partitioning.replicated(mesh),
  )
  originals = None

  def read(state: State) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    batches = batches_lib.held_out(held_out, config, count=count)
    with contextlib.closing(batches):
      for batch in batches:
        arrays = pairs(task, state, partitioning.global_batch(batch, mesh))
        valid, images, decoded = map(partitioning.local_copy, arrays)
        if valid.any():
          yield images[valid], decoded[valid]

  def judged(state: State) -> dict[str, float]:
    nonlocal originals
    before, after = moments.Moments(), moments.Moments()
    for images, decoded in read(state):
      if originals is None:
        before.add(extractor(images)['pool'])
      after.add(extractor(decoded)['pool'])
    if originals is None:
      originals = before.mean, before.covariance
    return {'rfid': frechet.distance(after.mean, after.covariance, *originals)}

  return judged


def _count(train: sections.Train, there: int) -> int:
  """Number of images to compare, of those that are there."""
  count = min(train.eval_samples, train.eval_images, there)
  if count < 2:
    raise ValueError(
        f'config.train.eval_samples={train.eval_samples} needs at least 2'
        f' held-out images, but config.train.eval_images={train.eval_images},'
        f' and there are {there}. Change --config.train.eval_images, or set'
        ' --config.train.eval_samples to 0.'
    )
  return count


def _pairs(
    task: Task, state: State, batch: Batch
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Which examples are valid, images, reconstructions: uint8[B, Y, X, 3]."""
  images, variables = batch['image'], stage1.inference_variables(state)
  features = task.model.apply(variables, images, method='features')
  codes = task.model.apply(variables, features, method='quantize').codes
  decoded = task.model.apply(variables, codes, method='decode_codes')
  return batch['valid'], tokenizer.to_uint8(images), tokenizer.to_uint8(decoded)
