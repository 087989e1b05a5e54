"""Jobs in chunks: split over processes, killed at any time, and resumed.

The folder of a job says which chunks are finished, and the same job makes the
others. Chunk c is made by process c % P of P, on the devices of that process;
processes share nothing but the folder. Once all chunks are there, the first
process finishes the job.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import dataclasses
import itertools
import time
from typing import Any, TypeAlias

from etils import epath
import jax

from rq_jax import compilation
from rq_jax.distributed import interrupts
from rq_jax.distributed import processes
from rq_jax.distributed import progress

# To be called now and then, wherever the work may end: it ends it after a
# signal, by an exception.
Check: TypeAlias = Callable[[], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """What is made in chunks, and how.

  Attributes:
    name: Of the command, such as 'sample'.
    made: What happens to an image, such as 'drawn'.
    folder: Of the chunks.
    sizes: Images in each chunk.
    finished: Returns the numbers of the chunks that are in the folder.
    work: Makes chunks. It takes their numbers, which end after a signal, and a
      `Check`; and yields how many images it has finished since it last did.
    finish: Makes the job complete, in the first process, once all chunks are
      there. It takes a `Check`.
    is_complete: Returns whether nothing is left to do.
  """

  name: str
  made: str
  folder: epath.PathLike
  sizes: Sequence[int]
  finished: Callable[[], set[int]]
  work: Callable[[Iterator[int], Check], Iterator[int]]
  finish: Callable[[Check], Any]
  is_complete: Callable[[], bool]

  def missing(self) -> list[int]:
    """Numbers of the chunks that are not there yet."""
    finished = self.finished()
    return [c for c in range(len(self.sizes)) if c not in finished]

  def images_in(self, chunks: Iterable[int]) -> int:
    """How many images some chunks have."""
    return sum(self.sizes[chunk] for chunk in chunks)


class _StopError(Exception):
  """A signal came."""


def run(job: Job) -> str:
  """Makes what is missing of a job, and finishes it.

  All processes of a program take part.

  Returns:
    A sentence that says what is where.

  Raises:
    Interrupted: If a signal to stop came before the job was complete.
  """
  missing = job.missing()
  start = time.perf_counter()
  # A process stops at a chunk of its own, and then waits for the others.
  with interrupts.Interrupts(alone=True) as signals:
    with compilation.clock() as compiler:
      _work(job, missing, signals)
    processes.wait_for_all(f'{job.name}: worked')
    seconds = time.perf_counter() - start
    _finish(job, signals)
  total, made = sum(job.sizes), job.images_in(missing)
  if not made:
    return f'All {total} images were in {job.folder} already.'
  which = '' if made == total else f'{made} of them '
  return (
      f'{total} images are in {job.folder}; {which}{job.made} at'
      f' {made / seconds:.1f} images per second, in {seconds:.1f} s of which'
      f' compiling took {compiler.seconds:.1f}.'
  )


def _work(job: Job, missing: list[int], signals: interrupts.Interrupts) -> None:
  """Makes those missing chunks that are this process's."""
  count, index = jax.process_count(), jax.process_index()

  def own(chunks: Iterable[int]) -> list[int]:
    return [chunk for chunk in chunks if chunk % count == index]

  total = job.images_in(own(range(len(job.sizes))))
  left = own(missing)
  numbers = itertools.takewhile(lambda c: not signals.requested(c), left)
  with (
      contextlib.suppress(_StopError),
      progress.bar(
          total=total,
          initial=total - job.images_in(left),
          unit='image',
          desc=job.name,
          disable=index > 0,
      ) as bar,
  ):
    for images in job.work(numbers, _check(signals)):
      bar.update(images)


def _finish(job: Job, signals: interrupts.Interrupts) -> None:
  """Lets the first process finish what all have made."""
  missing = job.missing()
  # From here on, the first may move files.
  processes.wait_for_all(f'{job.name}: judged')
  if missing:
    raise _interrupted(job)
  try:
    if jax.process_index() == 0 and not job.is_complete():
      with contextlib.suppress(_StopError):
        job.finish(_check(signals))
  finally:
    processes.wait_for_all(f'{job.name}: finished')
  if not job.is_complete():
    raise _interrupted(job)


def _check(signals: interrupts.Interrupts) -> Check:
  def check() -> None:
    if signals.requested(0):
      raise _StopError

  return check


def _interrupted(job: Job) -> interrupts.Interrupted:
  return interrupts.Interrupted(
      f'{job.images_in(job.finished())} of {sum(job.sizes)} images are finished'
      f' in {job.folder}'
  )
