"""Encodes a dataset once, into the cache that stage 2 trains from.

This is a job in chunks; its chunks are the shards of both splits. While it is
unfinished, `job.json` in the folder of the cache describes it.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np

from rq_jax import compilation
from rq_jax import files
from rq_jax import tokenizer as tokenizer_lib
from rq_jax.checkpoints import stored
from rq_jax.config import sections
from rq_jax.data import broken_examples
from rq_jax.data import loader
from rq_jax.data import sources
from rq_jax.data.feature_cache import layout
from rq_jax.data.feature_cache import writer
from rq_jax.distributed import console
from rq_jax.distributed import locks
from rq_jax.distributed import partitioning
from rq_jax.distributed import processes
from rq_jax.jobs import chunks
from rq_jax.jobs import manifest
from rq_jax.jobs import shards as shards_lib
from rq_jax.jobs import versions
from rq_jax.tokenizer import Tokenizer

_COMPLETE = (
    'A cache holds every image, also with --config.data.on_error=skip. To leave'
    ' such images out, remove them or encode what `python -m rq_jax prepare'
    ' --on_error=skip` writes.'
)


def run(tokenizer: str, data: sections.Data, out: str) -> str:
  """Restores a tokenizer and encodes a dataset with it; see `encode`.

  Compiled programs are kept on disk, see `compilation.keep`.

  Args:
    tokenizer: Workdir of the trained RQ-VAE, or a converted checkpoint.
    data: The section `data` of an experiment. It is checked before the weights
      are restored.
    out: Folder of the cache.
  """
  compilation.keep()
  out = files.path(out, 'out')
  size = stored.read_rqvae(tokenizer).image_size
  opened = shards_lib.open_splits(data, image_size=size)
  return _encode(Tokenizer.restore(tokenizer), data, opened, out)


def encode(tokenizer: Tokenizer, data: sections.Data, out: str) -> str:
  """Writes the features of both splits, in the format of `layout`.

  All processes of a program take part, each on all of its devices. Shards that
  an interrupted call has finished are kept. A complete cache is written again.

  Args:
    tokenizer: The encoder.
    data: The section `data` of an experiment: the dataset, which is encoded in
      batches of `batch_size`.
    out: Folder of the cache.

  Returns:
    A sentence for the user with the number of images, the folder and the rate.

  Raises:
    ValueError: If there are no images of the tokenizer's size, if an image
      cannot be read, if another program writes to the folder, or if the folder
      holds an unfinished cache of other data or another tokenizer.
    files.DiskFullError: Before anything is encoded, if there is no space for
      all missing shards.
    Interrupted: After the current batch, if a signal to stop came. The shard
      that is unfinished then is lost.
  """
  out = files.path(out, 'out')
  size = tokenizer.model.image_size
  opened = shards_lib.open_splits(data, image_size=size)
  return _encode(tokenizer, data, opened, out)


def _encode(
    tokenizer: Tokenizer,
    data: sections.Data,
    opened: dict[str, sources.Source],
    out: str,
) -> str:
  """Does the work of `encode`; `opened` holds the splits of the data."""
  mesh = partitioning.make_mesh({'data': -1}, devices=jax.local_devices())
  everywhere = jax.device_put(
      tokenizer.variables, partitioning.replicated(mesh)
  )
  encoding = _Encoding(
      tokenizer=dataclasses.replace(tokenizer, variables=everywhere),
      data=data,
      mesh=mesh,
      out=layout.local(out),
      shards=shards_lib.of(opened, tokenizer, out),
  )
  with broken_examples.advising(_COMPLETE), contextlib.ExitStack() as stack:
    processes.only_first(lambda: stack.enter_context(encoding.hold()))
    encoding.open_folder()
    stack.callback(encoding.withdraw)
    processes.only_first(encoding.make_room)
    return chunks.run(
        chunks.Job(
            name='encode',
            made='encoded',
            folder=out,
            sizes=[len(shard.rows) for shard in encoding.shards],
            finished=encoding.finished,
            work=encoding.work,
            finish=encoding.finish,
            is_complete=lambda: not encoding.manifest.exists(),
        )
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Encoding:
  """An encoding job: the data, the encoder and the folder.

  Attributes:
    tokenizer: The encoder, on all devices of the mesh.
    data: The section `data` of an experiment.
    mesh: All devices of this process.
    out: Folder of the cache.
    shards: Shards of both splits.
  """

  tokenizer: Tokenizer
  data: sections.Data
  mesh: jax.sharding.Mesh
  out: pathlib.Path
  shards: list[shards_lib.Shard]

  @property
  def manifest(self) -> pathlib.Path:
    return self.out / manifest.NAME

  def hold(self) -> contextlib.AbstractContextManager[None]:
    """Makes the folder, and keeps other programs from writing to it."""
    self.out.mkdir(parents=True, exist_ok=True)
    return locks.hold(self.out, flag='--out')

  def open_folder(self) -> None:
    """Starts a cache, or checks that the unfinished one can be continued."""

    def clear() -> None:
      for split in self._splits():
        split.clear()

    manifest.open_folder(
        self.out,
        self._described(),
        # Otherwise, shards of another tokenizer would count as finished.
        prepare=clear,
        # The hash of the file names identifies the data; the path may change.
        information=('data.path',),
        advice=(
            'Give the same values to finish that cache, choose another --out,'
            f' or remove {self.manifest} to encode the cache again.'
        ),
    )

  def withdraw(self) -> None:
    """Removes `job.json` if no shard is finished."""
    if jax.process_index() == 0 and not self.finished():
      self.manifest.unlink(missing_ok=True)

  def make_room(self) -> None:
    """Removes unfinished files, and checks the space for missing shards."""
    for split in self._splits():
      split.clear(keep=split.finished())
    finished = self.finished()
    missing = (s for c, s in enumerate(self.shards) if c not in finished)
    needs = sum(shard.split.bytes_of(shard.number) for shard in missing)
    files.require_space(self.out, needs)

  def finished(self) -> set[int]:
    """Numbers of the shards of both splits that are finished."""
    there = {split.name: split.finished() for split in self._splits()}
    return {
        c
        for c, shard in enumerate(self.shards)
        if shard.number in there[shard.split.name]
    }

  def work(self, numbers: Iterator[int], check: chunks.Check) -> Iterator[int]:
    """Encodes shards; yields the number of images in each batch."""
    with contextlib.ExitStack() as stack:
      # Reserves the space of all shards first, so that a full disk is an error
      # before anything is encoded.
      writers = [
          (shard, stack.enter_context(writer.Writer(shard.split, shard.number)))
          for shard in map(self.shards.__getitem__, numbers)
      ]
      processes.wait_for_all('encode: reserved')
      for i, (shard, open_writer) in enumerate(writers):
        for features, labels in self._batches(shard, check, first=i == 0):
          open_writer.write(features, labels)
          yield len(labels)
        open_writer.close()

  def finish(self, check: chunks.Check) -> None:
    """Declares both splits complete."""
    del check  # This takes no time.
    for split in self._splits():
      split.finish()
    self.manifest.unlink()

  def _splits(self) -> list[layout.Split]:
    return [shard.split for shard in self.shards if not shard.number]

  def _described(self) -> dict[str, Any]:
    """All values that decide the bytes of the cache; see `manifest`."""
    return {
        'tokenizer': self.shards[0].split.fingerprint,
        'data': {
            name: getattr(self.data, name)
            for name in ('source', 'path', 'image_size', 'batch_size')
        },
        'splits': {
            shard.split.name: shard.described()
            for shard in self.shards
            if not shard.number
        },
        'devices': f'{self.mesh.size} x {jax.local_devices()[0].device_kind}',
        'versions': versions.of('jax', 'rq_jax'),
    }

  def _batches(
      self, shard: shards_lib.Shard, check: chunks.Check, *, first: bool
  ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Features and labels of the examples of a shard, in order."""
    devices = partitioning.batch_parallelism(self.mesh)
    batches = loader.eval_batches(
        shard,
        transform=loader.image_transform(self.data, train=False),
        batch_size=-(-self.data.batch_size // devices) * devices,
    )
    with contextlib.closing(batches):
      for i, batch in enumerate(batches):
        check()
        images = jax.device_put(
            batch['image'], partitioning.batch_sharding(self.mesh)
        )
        valid = batch['valid']
        with console.compiling('the encoder', first=first and i == 0):
          features = tokenizer_lib.features_known(self.tokenizer, images)
        yield np.asarray(features)[valid], batch['label'][valid]
