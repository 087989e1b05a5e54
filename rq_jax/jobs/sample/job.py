"""Draws many images and writes them, as a job in chunks."""

from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

from etils import epath
import jax
import numpy as np

from rq_jax import files as files_lib
from rq_jax.distributed import console
from rq_jax.distributed import processes
from rq_jax.jobs import chunks
from rq_jax.jobs import file_hashes
from rq_jax.jobs import manifest
from rq_jax.jobs import versions
from rq_jax.jobs.sample import drawing as drawing_lib
from rq_jax.jobs.sample import draws
from rq_jax.jobs.sample import layout
from rq_jax.jobs.sample import rejection as rejection_lib
from rq_jax.sampling import Sampler


def sample(
    drawing: drawing_lib.Drawing,
    out: str,
    *,
    origin: dict[str, Any],
    format: str = 'png',
    shard_size: int = 10_000,
    rejection: rejection_lib.Rejection | None = None,
) -> str:
  """Draws the missing images of a job, and writes them.

  All processes of a program take part.

  Args:
    drawing: The images to draw.
    out: Folder to write to.
    origin: Origin of the generator, as returned by `drawing.restore`.
    format: 'png', 'shards' or 'npz'; see `layout`.
    shard_size: Number of images in a shard.
    rejection: How to choose the images among many draws; None to draw only the
      images.

  Returns:
    A sentence for the user with the number of images, the folder and the rate.

  Raises:
    ValueError: If the model does not take the conditions or the options, or if
      the folder holds another job or other images.
    DiskFullError: If there is no space for the images.
    Interrupted: After the current chunk, if a signal to stop came.
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
  if rejection is not None:
    rejection.check(drawing)
  manifest.open_folder(
      files.folder,
      _described(drawing, files, origin, rejection),
      prepare=lambda: _check_free(files.folder),
      # Fingerprints identify the models; their paths may change.
      information=('checkpoint', 'rejection.classifier'),
  )
  processes.only_first(lambda: _remove_damaged(files.folder))
  if rejection is not None:
    selecting = rejection_lib.Job(
        drawing=drawing, rejection=rejection, folder=files.folder
    )
    selecting.run(files.missing_bytes())
    return chunks.run(_job(files, selecting.images, made='decoded'))
  _require_space(files)
  return chunks.run(_job(files, drawing.chunks, made='drawn'))


def _remove_damaged(folder: epath.Path) -> None:
  """Removes files that do not have their recorded hash, and names them."""
  hashes = file_hashes.FileHashes(folder, (layout.PARTS, draws.FOLDER))
  if wrong := hashes.remove_damaged():
    console.tell(
        f'{folder}: {file_hashes.described(wrong)} damaged, and made again.'
    )


def _require_space(files: layout.Files) -> None:
  processes.only_first(
      lambda: files_lib.require_space(files.folder, files.missing_bytes())
  )


def _job(
    files: layout.Files,
    make: Callable[[Iterator[int]], Iterator[tuple[int, np.ndarray]]],
    *,
    made: str,
) -> chunks.Job:
  """The job in chunks that makes and writes the images."""

  def work(numbers: Iterator[int], check: chunks.Check) -> Iterator[int]:
    del check  # A chunk takes little time.
    with futures.ThreadPoolExecutor() as pool:
      for chunk, images in make(numbers):
        files.write(chunk, images, pool)
        yield len(images)

  return chunks.Job(
      name='sample',
      made=made,
      folder=files.folder,
      sizes=[len(files.images_of(c)) for c in range(files.num_chunks)],
      finished=files.finished,
      work=work,
      finish=files.finish,
      is_complete=files.complete,
  )


def _described(
    drawing: drawing_lib.Drawing,
    files: layout.Files,
    origin: dict[str, Any],
    rejection: rejection_lib.Rejection | None,
) -> dict[str, Any]:
  """All values that decide the bytes of a job; see `manifest`."""
  # Jobs without it were begun before there was rejection, too.
  chosen = {} if rejection is None else {'rejection': rejection.described()}
  return {
      **origin,
      **drawing.described(),
      'num_images': files.num_images,
      **chosen,
      'format': files.format,
      'shard_size': files.shard_size if files.format == 'shards' else None,
      'devices': _devices(drawing.sampler),
      'versions': versions.of('jax', 'rq_jax'),
  }


def _devices(sampler: Sampler) -> str:
  """The devices of one process, in words."""
  kind = jax.local_devices()[0].device_kind
  if sampler.mesh is None:
    return f'1 x {kind}'
  model = sampler.mesh.shape['model']
  return f'{sampler.mesh.size} x {kind}, model_parallel={model}'


def _check_free(folder: epath.Path) -> None:
  """Refuses a folder whose files would be taken for finished images."""
  own = {layout.PARTS, layout.LABELS, file_hashes.NAME}
  own |= {draws.FOLDER, draws.ACCEPTED, draws.CODES}
  for path in folder.iterdir():
    if path.name in own or path.suffix in ('.png', '.npz'):
      raise ValueError(
          f'--out={folder} holds {path.name}, but no {manifest.NAME} that'
          ' describes it. Choose an empty folder for --out.'
      )
