"""Makes one shard of a prepared dataset from the images of its origin."""

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
import dataclasses
from typing import Any

from rq_jax.data import image_files
from rq_jax.data.prepared import records
from rq_jax.data.prepared import shards
from rq_jax.jobs.prepare import contents
from rq_jax.jobs.prepare import origins

# Finished images per thread that wait to be written.
_AHEAD = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
  """Some images of a split, and the file that they are written to.

  Attributes:
    origin: All images of the split.
    split: The split in the prepared dataset.
    number: Index of this shard in its split.
  """

  origin: origins.Origin
  split: shards.Split
  number: int

  @property
  def rows(self) -> range:
    """Indices of the images of the origin that this shard covers."""
    return self.split.rows(self.number)

  @property
  def name(self) -> str:
    """Name of the file."""
    return self.split.file(self.number).name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Maker:
  """Turns images into records.

  Attributes:
    checker: Checks and resizes images.
    encoder: Encodes records.
    skip: Whether images that cannot be read are left out.
    pool: Threads that do the work.
    workers: Number of these threads.
  """

  checker: contents.Checker
  encoder: records.Encoder
  skip: bool
  pool: futures.Executor
  workers: int

  def records(self, shard: Shard) -> Iterator[bytes | dict[str, Any]]:
    """Yields the records of a shard in order.

    For an image that is left out, yields a dict with the reason.

    Raises:
      BrokenImageError: If an image cannot be read, unless `skip` is true.
    """

    def make(row: int) -> bytes | dict[str, Any]:
      return self._record(shard, row)

    yield from _in_order(self.pool, make, shard.rows, _AHEAD * self.workers)

  def _record(self, shard: Shard, row: int) -> bytes | dict[str, Any]:
    name = None
    try:
      raw = shard.origin[row]
      name = records.printable(raw.name)
      content = self.checker(raw.content, name)
    except image_files.BrokenImageError as error:
      reason = str(error).replace('--config.data.max', '--max')
      if not self.skip:
        raise image_files.BrokenImageError(
            f'{reason} Or leave such images out with --on_error=skip.'
        ) from error
      where = {'split': shard.split.name, 'row': row}
      return where | {'name': name, 'reason': records.printable(reason)}
    return self.encoder(content, name, raw.label, raw.text)


def _in_order(
    pool: futures.Executor,
    function: Callable[[int], Any],
    items: Iterable[int],
    ahead: int,
) -> Iterator[Any]:
  """Applies a function in threads; yields its results in order."""
  waiting: collections.deque[futures.Future[Any]] = collections.deque()
  for item in items:
    waiting.append(pool.submit(function, item))
    if len(waiting) > ahead:
      yield waiting.popleft().result()
  while waiting:
    yield waiting.popleft().result()
