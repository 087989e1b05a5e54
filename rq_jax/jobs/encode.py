"""Encodes a dataset once, into the cache that stage 2 trains from."""

import contextlib
import dataclasses
from typing import Any

import jax
import numpy as np

from rq_jax import files
from rq_jax.config import Config
from rq_jax.data import loader
from rq_jax.data import sources
from rq_jax.data.feature_cache import layout
from rq_jax.data.feature_cache import writer
from rq_jax.data.sources import splits
from rq_jax.distributed import locks
from rq_jax.distributed import partitioning
from rq_jax.distributed import processes
from rq_jax.distributed import progress
from rq_jax.tokenizer import Tokenizer


def encode(tokenizer: Tokenizer, data: Config, out: str) -> None:
  """Writes the features of both splits, in the format of `layout`.

  Each process encodes a range of its own, on all of its devices.

  Args:
    tokenizer: The encoder.
    data: The section `data` of an experiment: what to encode, in batches of
      `batch_size`.
    out: Folder of the cache.

  Raises:
    ValueError: If the images are not of the tokenizer's size, or one cannot be
      read, or another program writes to the folder.
    files.DiskFullError: If there is no room for both splits, before anything is
      encoded.
  """
  out = files.path(out, 'out')
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
  opened = {s: sources.open_source(data, s) for s in splits.SPLITS}
  with contextlib.ExitStack() as stack:
    processes.only_first(lambda: _hold(out, stack))
    # Both before either is encoded: what the disk has no room for shows now.
    writers = [
        stack.enter_context(_open_writer(tokenizer, source, out, split))
        for split, source in opened.items()
    ]
    processes.wait_for_all('encode: opened')
    for source, writer in zip(opened.values(), writers, strict=True):
      _encode_split(tokenizer, data, source, writer, mesh)


def _hold(out: str, stack: contextlib.ExitStack) -> None:
  """Makes the folder, and keeps other programs from writing to it."""
  folder = layout.local(out)
  folder.mkdir(parents=True, exist_ok=True)
  stack.enter_context(locks.hold(folder, flag='--out'))


def _open_writer(
    tokenizer: Tokenizer, source: sources.Source, out: str, split: str
) -> writer.Writer:
  return writer.Writer(
      out,
      split=split,
      num_examples=len(source),
      shape=tokenizer.model.features_shape,
      num_classes=source.num_classes,
      fingerprint=tokenizer.fingerprint,
      shard=jax.process_index(),
      num_shards=jax.process_count(),
  )


def _encode_split(
    tokenizer: Tokenizer,
    data: Config,
    source: sources.Source,
    writer: writer.Writer,
    mesh: jax.sharding.Mesh,
) -> None:
  devices = partitioning.batch_parallelism(mesh)
  batches = loader.eval_batches(
      _Range(source, writer.start, writer.stop),
      transform=loader.image_transform(data, train=False),
      batch_size=-(-data.batch_size // devices) * devices,
  )
  with progress.bar(
      total=writer.stop - writer.start,
      unit='image',
      desc=f'encode {writer.split}',
  ) as bar:
    for batch in batches:
      valid = batch['valid']
      images = jax.device_put(batch['image'], partitioning.batch_sharding(mesh))
      encoded = np.asarray(tokenizer.features(images))
      writer.write(encoded[valid], batch['label'][valid])
      bar.update(int(valid.sum()))
  writer.close()
  processes.wait_for_all('encode: written')
  if jax.process_count() > 1 and jax.process_index() == 0:
    writer.finish()


class _Range:
  """The examples start, ..., stop - 1 of a source."""

  def __init__(self, source: Any, start: int, stop: int):
    self._source, self._start, self._stop = source, start, stop
    self.num_classes = source.num_classes

  def __len__(self) -> int:
    return self._stop - self._start

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    return self._source[self._start + int(index)]
