"""Draws many images and writes them: a job that may be killed at any time.

Its folder says which chunks are finished, and the same job draws the others.
Chunk c is drawn by process c % P of P, on the devices of that process;
processes share nothing but the folder.
"""

from concurrent import futures
import itertools
import time
from typing import Any

from etils import epath
import jax

from rq_jax import compilation
from rq_jax import files as files_lib
from rq_jax.distributed import interrupts
from rq_jax.distributed import processes
from rq_jax.distributed import progress
from rq_jax.jobs.sample import drawing as drawing_lib
from rq_jax.jobs.sample import layout
from rq_jax.jobs.sample import manifest


class Interrupted(Exception):
  """The job was told to stop; what is finished stays, and it can go on."""


def sample(
    drawing: drawing_lib.Drawing,
    out: str,
    *,
    origin: dict[str, Any],
    format: str = 'png',
    shard_size: int = 10_000,
) -> str:
  """Draws what is missing of a job, and writes it.

  All processes of a program take part.

  Args:
    drawing: What to draw.
    out: Folder to write to.
    origin: Where the generator came from, as `drawing.restore` says.
    format: 'png', 'shards' or 'npz', see `layout`.
    shard_size: Images in a shard.

  Returns:
    A sentence that says what is where.

  Raises:
    ValueError: If the model does not take what it is given, or the folder holds
      something else.
    DiskFullError: If there is no room for the images.
    Interrupted: After the chunk under way, if a signal to stop came.
  """
  out = files_lib.path(out, 'out')
  files = layout.Files(
      folder=epath.Path(out),
      format=format,
      num_images=drawing.conditions.num_images,
      image_size=drawing.sampler.tokenizer.model.image_size,
      chunk_size=drawing.chunk_size,
      shard_size=shard_size,
      labels=drawing.conditions.labels,
  )
  drawing.check()
  _open(files, manifest.describe(drawing, files, origin))
  missing = _missing(files)
  start = time.perf_counter()
  # A process stops after a chunk of its own, and then waits for the others.
  with interrupts.Interrupts(alone=True) as signals:
    with compilation.clock() as compiler:
      _draw_missing(drawing, files, missing, signals)
    processes.wait_for_all('sample: drawn')
    seconds = time.perf_counter() - start
    _finish(files, signals)
  drawn = sum(len(files.images_of(chunk)) for chunk in missing)
  if not drawn:
    return f'All {files.num_images} images were in {out} already.'
  which = '' if drawn == files.num_images else f'{drawn} of them '
  return (
      f'{files.num_images} images are in {out}; {which}drawn at'
      f' {drawn / seconds:.1f} images per second, in {seconds:.1f} s of which'
      f' compiling took {compiler.seconds:.1f}.'
  )


def _open(files: layout.Files, asked: dict[str, Any]) -> None:
  """Makes the folder, or checks it; and that the disk has room for the job."""
  processes.only_first(lambda: manifest.open_folder(files.folder, asked))
  if jax.process_index():  # The first may have begun it with other flags.
    manifest.open_folder(files.folder, asked)
  processes.only_first(
      lambda: files_lib.require_space(files.folder, files.missing_bytes())
  )


def _missing(files: layout.Files) -> list[int]:
  finished = files.finished()
  return [c for c in range(files.num_chunks) if c not in finished]


def _draw_missing(
    drawing: drawing_lib.Drawing,
    files: layout.Files,
    missing: list[int],
    signals: interrupts.Interrupts,
) -> None:
  """Draws and writes those missing chunks that are this process's."""

  def own(chunks):
    count, index = jax.process_count(), jax.process_index()
    return [chunk for chunk in chunks if chunk % count == index]

  def images_in(chunks):
    return sum(len(files.images_of(chunk)) for chunk in chunks)

  total, left = images_in(own(range(files.num_chunks))), own(missing)
  with (
      futures.ThreadPoolExecutor() as pool,
      progress.bar(
          total=total,
          initial=total - images_in(left),
          unit='image',
          desc='sample',
          disable=jax.process_index() > 0,
      ) as bar,
  ):
    chunks = itertools.takewhile(lambda c: not signals.requested(c), left)
    for chunk, images in drawing.chunks(chunks):
      files.write(chunk, images, pool)
      bar.update(len(images))


def _finish(files: layout.Files, signals: interrupts.Interrupts) -> None:
  """Lets the first process join what all have drawn."""

  def stop():
    there = sum(len(files.images_of(chunk)) for chunk in files.finished())
    raise Interrupted(
        f'Interrupted: {there} of {files.num_images} images are finished in'
        f' {files.folder}; the same command goes on with the others.'
    )

  def check():
    if signals.requested(0):
      stop()

  missing = _missing(files)
  # From here on, the first may move files.
  processes.wait_for_all('sample: judged')
  if missing:
    stop()
  try:
    if jax.process_index() == 0 and not files.complete():
      files.finish(check)
  finally:
    processes.wait_for_all('sample: joined')
  if not files.complete():
    stop()
