"""Encodes a dataset once, into the cache that stage 2 trains from."""

import dataclasses
from typing import Any

import jax
from jax.experimental import multihost_utils
import numpy as np
import tqdm

from rq_jax import partitioning
from rq_jax.config import Config
from rq_jax.data import features
from rq_jax.data import loader
from rq_jax.data import sources
from rq_jax.tokenizer import Tokenizer


def encode(tokenizer: Tokenizer, data: Config, out: str) -> None:
  """Writes the features of both splits; see `data.features` for the format.

  Each process encodes a range of its own, on all of its devices.

  Args:
    tokenizer: The encoder.
    data: The section `data` of an experiment: what to encode, in batches of
      `batch_size`.
    out: Folder of the cache.

  Raises:
    ValueError: If the images are not of the tokenizer's size.
  """
  size = tokenizer.model.image_size
  if data.image_size != size:
    raise ValueError(
        f'config.data.image_size={data.image_size}, but the tokenizer encodes'
        f' images of {size}x{size}. Change --config.data.image_size.'
    )
  mesh = partitioning.make_mesh({'data': -1}, devices=jax.local_devices())
  everywhere = jax.device_put(
      tokenizer.variables, partitioning.replicated(mesh)
  )
  tokenizer = dataclasses.replace(tokenizer, variables=everywhere)
  for split in sources.SPLITS:
    _encode_split(tokenizer, data, out, split, mesh)


def _encode_split(
    tokenizer: Tokenizer, data, out: str, split: str, mesh: jax.sharding.Mesh
) -> None:
  source = sources.open_source(data, split)
  writer = features.Writer(
      out,
      split=split,
      num_examples=len(source),
      shape=tokenizer.model.features_shape,
      fingerprint=tokenizer.fingerprint,
      shard=jax.process_index(),
      num_shards=jax.process_count(),
  )
  _wait_for_all('opened')
  devices = partitioning.batch_parallelism(mesh)
  batches = loader.eval_batches(
      _Range(source, writer.start, writer.stop),
      transform=loader.image_transform(data, train=False),
      batch_size=-(-data.batch_size // devices) * devices,
  )
  with tqdm.tqdm(
      total=writer.stop - writer.start, unit='image', desc=f'encode {split}'
  ) as bar:
    for batch in batches:
      valid = batch['valid']
      images = jax.device_put(batch['image'], partitioning.batch_sharding(mesh))
      encoded = np.asarray(tokenizer.features(images))
      writer.write(encoded[valid], batch['label'][valid])
      bar.update(int(valid.sum()))
  writer.close()
  _wait_for_all('written')
  if jax.process_count() > 1 and jax.process_index() == 0:
    writer.finish()


def _wait_for_all(point: str) -> None:
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(f'encode: {point}')


class _Range:
  """The examples start, ..., stop - 1 of a source."""

  def __init__(self, source: Any, start: int, stop: int):
    self._source, self._start, self._stop = source, start, stop

  def __len__(self) -> int:
    return self._stop - self._start

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    return self._source[self._start + int(index)]
