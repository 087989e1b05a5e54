"""Encodes shards of images, batch by batch, on all devices of a process."""

from collections.abc import Generator, Iterable, Iterator, Sequence
import contextlib
import dataclasses
from typing import NamedTuple, TypeVar

import jax
import numpy as np

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.config import sections
from rq_jax.data import loader
from rq_jax.distributed import console
from rq_jax.distributed import partitioning
from rq_jax.jobs import chunks
from rq_jax.jobs.encode import shards as shards_lib
from rq_jax.tokenizer import Tokenizer

_T = TypeVar('_T')


class Encoded(NamedTuple):
  """Encoded examples.

  Attributes:
    features: float32[n, V, H, W, C].
    labels: int32[n].
    texts: The n texts; None if the data has no texts.
  """

  features: np.ndarray
  labels: np.ndarray
  texts: list[str] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoder:
  """A tokenizer on all devices of this process.

  Attributes:
    tokenizer: The encoder, on all devices of the mesh.
    data: The section `data` of an experiment, for the size of the batches and
      the number of workers.
    mesh: All devices of this process.
  """

  tokenizer: Tokenizer
  data: sections.Data
  mesh: jax.sharding.Mesh

  def encode(
      self, shards: Sequence[shards_lib.Shard], check: chunks.Check
  ) -> Generator[Encoded, None, None]:
    """Encodes shards in order, batch by batch; no batch mixes two shards.

    The devices encode the next batch while the caller handles the one before.

    Args:
      shards: The shards.
      check: Called before each batch; see `chunks.Check`.
    """
    batches = loader.batches_of_each(
        [(shard, self._batch_size(shard)) for shard in shards],
        workers=self.data.workers,
    )
    with contextlib.closing(batches):
      yield from map(_fetched, _one_behind(self._started(batches, check)))

  def _batch_size(self, shard: shards_lib.Shard) -> int:
    """Examples per batch, so that a batch has as many views as in training."""
    size = max(1, self.data.batch_size // shard.split.views)
    devices = partitioning.batch_parallelism(self.mesh)
    return -(-size // devices) * devices

  def _started(
      self,
      batches: Iterable[dict[str, np.ndarray]],
      check: chunks.Check,
  ) -> Iterator[tuple[dict[str, np.ndarray], jax.Array]]:
    """Starts to encode batches; yields each with the features to come.

    Args:
      batches: Batches with an 'image', float32[B, V, Y, X, 3].
      check: Called before each batch.
    """
    compiled = set()
    for batch in batches:
      check()
      images = batch['image'].reshape(-1, *batch['image'].shape[2:])
      first = images.shape not in compiled
      compiled.add(images.shape)
      images = jax.device_put(images, partitioning.batch_sharding(self.mesh))
      with console.compiling('the encoder', first=first):
        features = tokenizer_lib.features_known(self.tokenizer, images)
      yield batch, features


def _fetched(started: tuple[dict[str, np.ndarray], jax.Array]) -> Encoded:
  """Waits for the features of a batch; drops the copies that fill it up."""
  batch, features = started
  rows, views = batch['image'].shape[:2]
  valid = batch['valid']
  found = np.asarray(features)
  return Encoded(
      found.reshape(rows, views, *found.shape[1:])[valid],
      batch['label'][valid],
      batch['text'][valid].tolist() if 'text' in batch else None,
  )


def _one_behind(items: Iterable[_T]) -> Iterator[_T]:
  """Yields each item once the next one is made, fails or does not exist."""
  held: list[_T] = []
  try:
    for item in items:
      held.append(item)
      if len(held) > 1:
        yield held.pop(0)
  except Exception:
    yield from held  # It is complete, whatever failed after it.
    raise
  yield from held
