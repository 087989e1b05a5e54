"""Runs jobs in chunks, which may be split over processes, killed and resumed.

The files in the folder of a job show which chunks are finished; a restart makes
only the others. Of P processes, process c % P makes chunk c, on its own
devices; processes share nothing but the folder. When all chunks are finished,
the first process completes the job. If a process fails, the others stop soon.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import dataclasses
import itertools
import os
import time
from typing import Any, TypeAlias

from etils import epath
import jax

from rq_jax import compilation
from rq_jax import files
from rq_jax.distributed import interrupts
from rq_jax.distributed import processes
from rq_jax.distributed import progress

# A function that jobs call regularly, wherever they may stop. After a signal,
# it stops the work by an exception.
Check: TypeAlias = Callable[[], None]

_LOOK_SECONDS = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """A job in chunks.

  Attributes:
    name: Name of the command, such as 'sample'.
    made: Participle for the work on an image, such as 'drawn'.
    folder: Folder of the chunks.
    sizes: Number of images in each chunk.
    finished: Returns the numbers of the finished chunks in the folder.
    work: Makes chunks. Takes their numbers, an iterator that ends after a
      signal, and a `Check`. Yields the number of images finished since its last
      yield.
    finish: Completes the job, in the first process, when all chunks are
      finished. Takes a `Check`.
    is_complete: Returns whether nothing is left to do.
    held: Returns the number of images that each finished chunk holds, if the
      work may leave images out; None if all are kept.
    unit: What the user calls an image of the job, in the singular.
  """

  name: str
  made: str
  folder: epath.PathLike
  sizes: Sequence[int]
  finished: Callable[[], set[int]]
  work: Callable[[Iterator[int], Check], Iterator[int]]
  finish: Callable[[Check], Any]
  is_complete: Callable[[], bool]
  held: Callable[[], Sequence[int]] | None = None
  unit: str = 'image'

  def missing(self) -> list[int]:
    """Numbers of the chunks that are not finished yet."""
    finished = self.finished()
    return [c for c in range(len(self.sizes)) if c not in finished]

  def images_in(self, chunks: Iterable[int]) -> int:
    """Number of images in some chunks."""
    return sum(self.sizes[chunk] for chunk in chunks)


class _StopError(Exception):
  """Raised in the work of a job after a signal, or if another process fails."""


class _Failure:
  """Whether any process of a job has failed: then, a file is in its folder.

  Processes that wait for each other cannot be told in another way while they
  work. The file has the suffix of unfinished files, which no job counts.
  """

  def __init__(self, folder: epath.PathLike):
    """No process may have failed yet; all of them must take part."""
    self._file = epath.Path(folder) / f'failed{files.PARTIAL}'
    self._next = 0.0
    processes.only_first(self.clear)  # A killed process may have left it.

  def __call__(self) -> bool:
    """Whether another process has failed; looks at most once per second."""
    if jax.process_count() == 1 or time.monotonic() < self._next:
      return False
    self._next = time.monotonic() + _LOOK_SECONDS
    return self._file.exists()

  @contextlib.contextmanager
  def reporting(self) -> Iterator[None]:
    """Lets the other processes know of an error."""
    try:
      yield
    except Exception:
      if jax.process_count() > 1:
        with contextlib.suppress(OSError):  # The others then finish their work.
          self._file.write_text('')
      raise

  def clear(self) -> None:
    """Removes the file, when no process looks for it any more."""
    with contextlib.suppress(OSError):
      self._file.unlink(missing_ok=True)


def run(job: Job) -> str:
  """Makes the missing chunks of a job, and completes it.

  All processes of a program take part.

  Returns:
    A sentence for the user with the number of images, the folder and the rate.

  Raises:
    Interrupted: If a signal to stop came before the job was complete.
    ValueError: If another process has failed, or the folder was removed or
      cannot be written any more.
    DiskFullError: If there is no room for a file.
  """
  with _naming_the_folder(job):
    return _run(job)


def _run(job: Job) -> str:
  missing, failure = job.missing(), _Failure(job.folder)
  start = time.perf_counter()
  # Each process stops after its own current chunk, and waits for the others.
  with interrupts.Interrupts(alone=True) as signals:
    with compilation.clock() as compiler:
      try:
        processes.together(lambda: _work(job, missing, signals, failure))
      finally:
        failure.clear()
    seconds = time.perf_counter() - start
    _finish(job, signals)
  held = job.held() if job.held else job.sizes
  total, made = sum(held), sum(held[chunk] for chunk in missing)
  if not missing:
    return f'All {total} {job.unit}s were in {job.folder} already.'
  which = '' if made == total else f'{made} of them '
  rate = job.images_in(missing) / seconds
  compiling = f' of which compiling took {compiler.seconds:.1f}'
  return (
      f'{total} {job.unit}s are in {job.folder}; {which}{job.made} at'
      f' {rate:.1f} {job.unit}s per second, in {seconds:.1f} s'
      f'{compiling if compiler.seconds else ""}.'
  )


@contextlib.contextmanager
def _naming_the_folder(job: Job) -> Iterator[None]:
  """Words errors of the file system in the folder of a job."""
  try:
    yield
  except files.DiskFullError:
    raise
  except OSError as error:
    if not _lies_in(error.filename, job.folder):
      raise
    if not epath.Path(job.folder).exists():
      raise ValueError(
          f'{job.folder} was removed while {job.name} wrote to it. Run the same'
          ' command again to start from the beginning.'
      ) from error
    raise ValueError(
        f'{job.folder} cannot be written any more: {error.strerror}. All'
        f' finished {job.unit}s in it are kept. Repair the disk or change the'
        ' permissions, and run the same command again.'
    ) from error


def _lies_in(file: epath.PathLike | None, folder: epath.PathLike) -> bool:
  if file is None:
    return False
  paths = [os.path.abspath(os.fspath(path)) for path in (file, folder)]
  return os.path.commonpath(paths) == paths[1]


def _work(
    job: Job,
    missing: list[int],
    signals: interrupts.Interrupts,
    failure: _Failure,
) -> None:
  """Makes the missing chunks that belong to this process."""
  count, index = jax.process_count(), jax.process_index()

  def own(chunks: Iterable[int]) -> list[int]:
    return [chunk for chunk in chunks if chunk % count == index]

  def stopping() -> bool:
    return signals.requested(0) or failure()

  total = job.images_in(own(range(len(job.sizes))))
  left = own(missing)
  numbers = itertools.takewhile(lambda _: not stopping(), left)
  with (
      failure.reporting(),
      contextlib.suppress(_StopError),
      progress.bar(
          total=total,
          initial=total - job.images_in(left),
          unit=job.unit,
          desc=job.name,
          disable=index > 0,
      ) as bar,
  ):
    for images in job.work(numbers, _check(stopping)):
      bar.update(images)


def _finish(job: Job, signals: interrupts.Interrupts) -> None:
  """Lets the first process complete the job if no chunk is missing."""
  missing = job.missing()
  # After this, the first process may move files.
  processes.wait_for_all(f'{job.name}: judged')
  if missing:
    raise _interrupted(job)

  def finish() -> None:
    if not job.is_complete():
      with contextlib.suppress(_StopError):
        job.finish(_check(lambda: signals.requested(0)))

  processes.only_first(finish)
  if not job.is_complete():
    raise _interrupted(job)


def _check(stopping: Callable[[], bool]) -> Check:
  def check() -> None:
    if stopping():
      raise _StopError

  return check


def _interrupted(job: Job) -> interrupts.Interrupted:
  return interrupts.Interrupted(
      f'{job.images_in(job.finished())} of {sum(job.sizes)} {job.unit}s are'
      f' finished in {job.folder}'
  )
