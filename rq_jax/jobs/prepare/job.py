"""Prepares a dataset: checks its images, and stores them in ArrayRecord files.

This is a job in chunks; its chunks are the shards of all splits. `job.json` in
the folder describes it; see `dataset` for the other files.
"""

from collections.abc import Iterator
from concurrent import futures
import contextlib
import dataclasses
import os
import pathlib

from rq_jax import files
from rq_jax.config import sections
from rq_jax.data import image_files
from rq_jax.data.prepared import records
from rq_jax.data.prepared import shards
from rq_jax.distributed import locks
from rq_jax.distributed import processes
from rq_jax.jobs import chunks
from rq_jax.jobs.prepare import contents
from rq_jax.jobs.prepare import dataset as dataset_lib
from rq_jax.jobs.prepare import ledger
from rq_jax.jobs.prepare import origins
from rq_jax.jobs.prepare import shard as shard_lib

# Protocol buffers and checksums add less than 1 %.
_OVERHEAD = 1.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """How to prepare a dataset.

  Attributes:
    resize: Length in pixels that short sides are reduced to; None keeps the
      bytes of all images.
    skip: Whether images that cannot be read are left out.
    max_pixels: Images with more pixels cannot be read.
    workers: Threads that check images; None for one per core.
  """

  resize: int | None = None
  skip: bool = False
  max_pixels: int = sections.DEFAULT_MAX_PIXELS
  workers: int | None = None


def run(
    opened: dict[str, origins.Origin],
    out: str,
    *,
    name: str,
    src: str,
    options: Options,
) -> str:
  """Prepares the splits of a dataset.

  All processes of a program take part. Finished shards are kept when the job is
  started again.

  Args:
    opened: The images of each split; see `origins`.
    out: Folder of the prepared dataset.
    name: Name of the dataset, which is part of file names.
    src: Where the images come from; this is only recorded.
    options: How to prepare it.

  Returns:
    A sentence for the user with the number of images, the folder and the rate.

  Raises:
    BrokenImageError: If an image cannot be read, unless `options.skip`.
    ValueError: If all images of a split were refused, if another program writes
      to the folder, or if the folder holds something else.
    files.DiskFullError: If there is no space. Without `options.resize`, this is
      found out before any image is read.
    Interrupted: If a signal to stop came. Unfinished shards are lost.
  """
  folder = _local(files.path(out, '--out'))
  described = {'resize': options.resize, 'max_pixels': options.max_pixels}
  dataset = dataset_lib.Dataset(folder, name, _shards(opened, folder, name))
  preparing = _Preparing(dataset, options)
  with contextlib.ExitStack() as stack:
    processes.only_first(
        lambda: stack.enter_context(locks.hold(folder, flag='--out'))
    )
    dataset.open_folder(described, src=src)
    stack.callback(dataset.withdraw)
    processes.only_first(preparing.make_room)
    sentence = chunks.run(
        chunks.Job(
            name='prepare',
            made='prepared',
            folder=str(folder),
            sizes=[len(shard.rows) for shard in dataset.shards],
            finished=preparing.finished,
            work=preparing.work,
            finish=lambda _: dataset.finish(described),  # This takes no time.
            is_complete=dataset.is_complete,
            held=dataset.held,
        )
    )
  return f'{sentence}{dataset.about_refused()}'


def _local(out: str) -> pathlib.Path:
  if not files.is_local(out):
    raise ValueError(
        f'--out={out} is remote, but datasets are written to local or mounted'
        ' folders. Choose a local folder, and copy it when it is complete.'
    )
  return pathlib.Path(out)


def _shards(
    opened: dict[str, origins.Origin], out: pathlib.Path, name: str
) -> list[shard_lib.Shard]:
  """The shards of all splits, in order."""
  found = []
  for split_name, origin in opened.items():
    split = shards.Split(
        folder=out,
        dataset=name,
        name=split_name,
        num_rows=len(origin),
        num_shards=shards.count(len(origin), origin.num_bytes),
    )
    found += [
        shard_lib.Shard(origin=origin, split=split, number=number)
        for number in range(split.num_shards)
    ]
  return found


class _Preparing:
  """The work on the shards of a dataset."""

  def __init__(self, dataset: dataset_lib.Dataset, options: Options):
    self._dataset, self._options = dataset, options

  def make_room(self) -> None:
    """Removes damaged and unfinished files, and checks the space for shards."""
    folder = self._dataset.folder
    self._dataset.remove_damaged()
    for file in folder.glob(f'*{files.PARTIAL}'):
      file.unlink(missing_ok=True)
    if self._options.resize is None:
      finished = self.finished()
      missing = (
          shard
          for number, shard in enumerate(self._dataset.shards)
          if number not in finished
      )
      files.require_space(folder, sum(map(_bytes_of, missing)))

  def finished(self) -> set[int]:
    """Numbers of the finished shards."""
    found = self._dataset.read()
    # An earlier start with `skip` may have left images out.
    any_refused = self._options.skip or self._dataset.is_complete()
    return {
        number
        for number, shard in enumerate(self._dataset.shards)
        if shard.name in found
        and (any_refused or not found[shard.name].refused)
    }

  def work(self, numbers: Iterator[int], check: chunks.Check) -> Iterator[int]:
    """Writes shards; yields 1 for each image."""
    workers = self._options.workers or os.cpu_count() or 1
    pool = futures.ThreadPoolExecutor(workers)
    maker = shard_lib.Maker(
        checker=contents.Checker(
            reader=image_files.Reader(max_pixels=self._options.max_pixels),
            resize=self._options.resize,
        ),
        encoder=records.Encoder(self._dataset.features),
        skip=self._options.skip,
        pool=pool,
        workers=workers,
    )
    try:
      for number in numbers:
        yield from self._write(maker, self._dataset.shards[number], check)
    finally:
      pool.shutdown(cancel_futures=True)

  def _write(
      self, maker: shard_lib.Maker, shard: shard_lib.Shard, check: chunks.Check
  ) -> Iterator[int]:
    """Writes one shard; yields 1 for each image."""
    folder, refused = self._dataset.folder, []
    needs = None if self._options.resize else _bytes_of(shard)
    with shards.writing(folder / shard.name, needs=needs) as writer:
      for record in maker.records(shard):
        check()
        if isinstance(record, bytes):
          writer.write(record)
        else:
          refused.append(record)
        yield 1
      written = writer.close()
    finished = ledger.Finished(
        file=shard.name, written=written, refused=tuple(refused)
    )
    ledger.record(folder, finished)


def _bytes_of(shard: shard_lib.Shard) -> int:
  share = len(shard.rows) / max(1, shard.split.num_rows)
  return int(shard.origin.num_bytes * share * _OVERHEAD)
