"""Encodes a dataset once, into the cache that stage 2 trains from.

This is a job in chunks; its chunks are the shards of both splits. While it is
unfinished, `job.json` in the folder of the cache describes it; afterwards,
`encoded.json`. The same job on a complete cache whose files are damaged or
missing makes only their shards again.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import pathlib

import jax

from rq_jax import compilation
from rq_jax import files
from rq_jax.checkpoints import stored
from rq_jax.config import sections
from rq_jax.data import broken_examples
from rq_jax.data import sources
from rq_jax.data.feature_cache import layout
from rq_jax.data.feature_cache import records
from rq_jax.data.feature_cache import writer
from rq_jax.distributed import console
from rq_jax.distributed import locks
from rq_jax.distributed import partitioning
from rq_jax.distributed import processes
from rq_jax.jobs import chunks
from rq_jax.jobs import manifest
from rq_jax.jobs.encode import description
from rq_jax.jobs.encode import encoder as encoder_lib
from rq_jax.jobs.encode import repair
from rq_jax.jobs.encode import shards as shards_lib
from rq_jax.tokenizer import Tokenizer

_COMPLETE = (
    'A cache must hold every image, even with --config.data.on_error=skip. To'
    ' leave broken images out, remove them, or encode what `python -m rq_jax'
    ' prepare --on_error=skip` writes.'
)


def run(
    tokenizer: str,
    data: sections.Data,
    out: str,
    *,
    views: int = 1,
    seed: int = 0,
) -> str:
  """Restores a tokenizer and encodes a dataset with it; see `encode`.

  Compiled programs are kept on disk, see `compilation.keep`.

  Args:
    tokenizer: Workdir of the trained RQ-VAE, or a converted checkpoint.
    data: The section `data` of an experiment. It is checked before the weights
      are restored.
    out: Folder of the cache.
    views: Number of views of each training image.
    seed: Seed of the views.
  """
  compilation.keep()
  out = files.path(out, 'out')
  manifest.check_writable(out, given=f'--out={out}')
  size = stored.read_rqvae(tokenizer).image_size
  opened = shards_lib.open_splits(data, image_size=size, views=views)
  restored = Tokenizer.restore(tokenizer)
  return _encode(restored, data, opened, out, views=views, seed=seed)


def encode(
    tokenizer: Tokenizer,
    data: sections.Data,
    out: str,
    *,
    views: int = 1,
    seed: int = 0,
) -> str:
  """Writes the features of both splits, in the format of `layout`.

  All processes of a program take part, each on all of its devices. Shards that
  an interrupted call has finished are kept if their files have their hashes. A
  complete cache is written again; if some of its files are damaged or missing,
  only their shards are.

  Args:
    tokenizer: The encoder.
    data: The section `data` of an experiment: the dataset, which is encoded in
      batches of `batch_size` views.
    out: Folder of the cache.
    views: Number of views of each training image. A single view is the center
      of the image; several views are cropped and mirrored as `data.crop` and
      `data.flip` describe. Held-out images always have a single view.
    seed: Seed of the views.

  Returns:
    A sentence for the user with the number of images, the folder, the rate and
    the error of storing features in float16.

  Raises:
    ValueError: If there are no images of the tokenizer's size, if the views are
      not possible, if an image cannot be read, if another program writes to the
      folder, or if the folder holds an unfinished cache of other data or
      another tokenizer.
    files.DiskFullError: Before anything is encoded, if there is no space for
      all missing shards.
    Interrupted: After the current batch, if a signal to stop came. The shard
      that is unfinished then is lost.
  """
  out = files.path(out, 'out')
  size = tokenizer.model.image_size
  opened = shards_lib.open_splits(data, image_size=size, views=views)
  return _encode(tokenizer, data, opened, out, views=views, seed=seed)


def _encode(
    tokenizer: Tokenizer,
    data: sections.Data,
    opened: dict[str, sources.Source],
    out: str,
    *,
    views: int,
    seed: int,
) -> str:
  """Does the work of `encode`; `opened` holds the splits of the data."""
  for remark in sources.remarks(opened['train']):
    console.tell(remark)
  mesh = partitioning.make_mesh({'data': -1}, devices=jax.local_devices())
  everywhere = jax.device_put(
      tokenizer.variables, partitioning.replicated(mesh)
  )
  encoding = _Encoding(
      encoder=encoder_lib.Encoder(
          tokenizer=dataclasses.replace(tokenizer, variables=everywhere),
          data=data,
          mesh=mesh,
      ),
      seed=seed,
      out=layout.local(out),
      shards=shards_lib.of(
          opened, tokenizer, data, out, views=views, seed=seed
      ),
  )
  with broken_examples.advising(_COMPLETE), contextlib.ExitStack() as stack:
    processes.only_first(
        lambda: stack.enter_context(locks.hold(encoding.out, flag='--out'))
    )
    encoding.open_folder()
    stack.callback(encoding.withdraw)
    processes.only_first(encoding.make_room)
    sentence = chunks.run(
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
  return f'{sentence} {encoding.rounding()}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Encoding:
  """An encoding job: the data, the encoder and the folder.

  Attributes:
    encoder: The encoder, on all devices of this process.
    seed: Seed of the views.
    out: Folder of the cache.
    shards: Shards of both splits.
  """

  encoder: encoder_lib.Encoder
  seed: int
  out: pathlib.Path
  shards: list[shards_lib.Shard]

  @property
  def manifest(self) -> pathlib.Path:
    return self.out / manifest.NAME

  def open_folder(self) -> None:
    """Starts a cache, or checks that the unfinished one can be continued."""

    def clear() -> None:
      for split in self._splits():
        split.clear()

    described = description.describe(self.encoder, self.shards, self.seed)
    processes.only_first(
        lambda: repair.reopen(self.out, self._splits(), described)
    )
    manifest.open_folder(
        self.out,
        described,
        # Otherwise, shards of another tokenizer would count as finished.
        prepare=clear,
        information=repair.INFORMATION,
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
    """Removes damaged and unfinished files, and checks the space for shards."""
    repair.remove_damaged(self.out, self._splits())
    for split in self._splits():
      split.clear(keep=records.finished(split))
    finished = self.finished()
    missing = (s for c, s in enumerate(self.shards) if c not in finished)
    needs = sum(shard.split.bytes_of(shard.number) for shard in missing)
    free = files.free_bytes(self.out)
    assert free is not None  # The folder is local.
    if needs:
      console.tell(
          f'The features take {files.readable(needs)} in {self.out};'
          f' {files.readable(free)} are free there.'
      )
    files.require_space(self.out, needs)

  def finished(self) -> set[int]:
    """Numbers of the shards of both splits that are finished."""
    there = {s.name: records.finished(s) for s in self._splits()}
    return {
        c
        for c, shard in enumerate(self.shards)
        if shard.number in there[shard.split.name]
    }

  def work(self, numbers: Iterator[int], check: chunks.Check) -> Iterator[int]:
    """Encodes shards; yields the number of images in each batch."""
    shards = [self.shards[c] for c in numbers]
    with contextlib.ExitStack() as stack:
      # Reserves the space of all shards first, so that a full disk is an error
      # before anything is encoded.
      writers: list[writer.Writer] = []

      def reserve() -> None:
        for shard in shards:
          opened = writer.Writer(shard.split, shard.number)
          writers.append(stack.enter_context(opened))

      processes.together(reserve)
      encoded = stack.enter_context(
          contextlib.closing(self.encoder.encode(shards, check))
      )
      for batch in encoded:
        writers[0].write(batch.features, batch.labels, batch.texts)
        yield len(batch.labels)
        if writers[0].is_full:
          writers.pop(0).close()

  def finish(self, check: chunks.Check) -> None:
    """Marks both splits as complete."""
    del check  # This takes no time.
    for split in self._splits():
      records.finish(split)
    self.manifest.replace(self.out / repair.COMPLETE)

  def rounding(self) -> str:
    """A sentence about the error of float16, of a complete cache."""
    found = [
        records.read_meta(self.out, split.name)[1]['rounding']
        for split in self._splits()
    ]
    largest, relative = (
        max(error[name] for error in found) for name in ('largest', 'relative')
    )
    return (
        'Rounding the features to float16 changed them by at most'
        f' {largest:.2g} ({relative:.2%} of their root mean square).'
    )

  def _splits(self) -> list[layout.Split]:
    return [shard.split for shard in self.shards if not shard.number]
