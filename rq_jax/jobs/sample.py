"""Draws many images in chunks of one size, and writes them.

A job may be killed at any time: its folder says which chunks are finished, and
the same job draws the others. Chunk c is drawn by process c % P of P, on the
devices of that process; processes share nothing but the folder.
"""

import collections
from collections.abc import Iterable, Iterator
from concurrent import futures
import dataclasses
import functools
import itertools
import time
from typing import Any

from etils import epath
import jax
from jax.experimental import multihost_utils
import numpy as np
import tqdm

from rq_jax import checkpoint as checkpoint_lib
from rq_jax import partitioning
from rq_jax.jobs import sample_files
from rq_jax.jobs import sample_manifest
from rq_jax.jobs.sample_conditions import Conditions
from rq_jax.sampling import Sampler
from rq_jax.sampling import Sampling
from rq_jax.training import interrupts


class Interrupted(Exception):
  """The job was told to stop; what is finished stays, and it can go on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
  """What to draw, and how to write it.

  Attributes:
    out: Folder to write to.
    conditions: What to draw, and how many.
    seed: All draws derive from it; image i also from i alone.
    sampling: How to draw.
    chunk_size: Images computed at a time. The last chunk is padded, so that all
      of them run the same program.
    format: 'png', 'shards' or 'npz', see `sample_files`.
    shard_size: Images in a shard.
  """

  out: str
  conditions: Conditions
  seed: int = 0
  sampling: Sampling = Sampling()
  chunk_size: int = 100
  format: str = 'png'
  shard_size: int = 10_000


def restore(
    checkpoint: str,
    *,
    chunk_size: int,
    model_parallel: int = 1,
    step: int | None = None,
    ema: bool = True,
    dtype: str | None = None,
    tokenizer: str | None = None,
) -> tuple[Sampler, dict[str, Any]]:
  """Restores a sampler onto all devices of this process.

  Args:
    checkpoint: The workdir of a stage-2 run, or a converted checkpoint.
    chunk_size: Images that the devices are to draw together.
    model_parallel: Devices that share the weights of one model; the others
      split the chunk.
    step: Which checkpoint; the newest if None.
    ema: Whether to take averaged parameters, where the run kept them.
    dtype: Of parameters and computation; None for as trained.
    tokenizer: Path of another copy of the tokenizer.

  Returns:
    The sampler, and where it came from, for the manifest.

  Raises:
    ValueError: If there is no such model, or the devices do not fit.
  """
  mesh = _local_mesh(chunk_size, model_parallel)
  checkpoint_lib.read_config(checkpoint, stage=2)
  step = checkpoint_lib.find_step(checkpoint, step)
  ema = ema and checkpoint_lib.has_collection(
      checkpoint, 'ema_params', step=step
  )
  sampler = Sampler.restore(
      checkpoint,
      step=step,
      ema=ema,
      dtype=dtype,
      mesh=mesh,
      tokenizer=tokenizer,
      verbose=jax.process_index() == 0,
  )
  return sampler, {
      'checkpoint': str(checkpoint),
      'step': step,
      'ema': ema,
      'dtype': sampler.prior.dtype,
  }


def _local_mesh(
    chunk_size: int, model_parallel: int
) -> jax.sharding.Mesh | None:
  devices = jax.local_devices()
  if len(devices) % model_parallel:
    raise ValueError(
        f'--model_parallel={model_parallel} must divide the {len(devices)}'
        ' devices of a process. Change it.'
    )
  if len(devices) == 1:
    return None
  mesh = partitioning.make_mesh(
      {'data': -1, 'model': model_parallel}, devices=devices
  )
  parallel = partitioning.batch_parallelism(mesh)
  if chunk_size % parallel:
    raise ValueError(
        f'--chunk_size={chunk_size} must be a multiple of {parallel}, the'
        ' devices that split a chunk. Choose'
        f' --chunk_size={-(-chunk_size // parallel) * parallel}.'
    )
  return mesh


def sample(sampler: Sampler, job: Job, origin: dict[str, Any]) -> str:
  """Draws what is missing of a job, and writes it.

  Args:
    sampler: The generator.
    job: What to draw. All processes of a program take part.
    origin: Where the generator came from, as `restore` says.

  Returns:
    A sentence that says what is where.

  Raises:
    ValueError: If the model does not take what it is given, or the folder holds
      something else.
    Interrupted: After the chunk under way, if SIGTERM or Ctrl-C came.
  """
  files = _files_of(job, sampler.tokenizer.model.image_size)
  _check(sampler, job)
  asked = sample_manifest.describe(
      sampler,
      job.conditions,
      files,
      origin=origin,
      seed=job.seed,
      sampling=job.sampling,
  )
  sample_manifest.open_folder(files.folder, asked)
  _wait_for_all('opened')
  missing = _missing(files)
  start = time.perf_counter()
  # A process stops after a chunk of its own, and then waits for the others.
  with interrupts.Interrupts(alone=True) as signals:
    _draw_missing(sampler, job, files, missing, signals)
    _wait_for_all('drawn')
    seconds = time.perf_counter() - start
    _finish(files, signals)
  drawn = sum(len(files.images_of(chunk)) for chunk in missing)
  if not drawn:
    return f'All {files.num_images} images were in {job.out} already.'
  which = '' if drawn == files.num_images else f'the last {drawn} '
  return (
      f'{files.num_images} images are in {job.out}; {which}drawn at'
      f' {drawn / seconds:.1f} images per second.'
  )


def draw(
    sampler: Sampler,
    seed: int,
    conditions: Conditions,
    *,
    sampling: Sampling | None = None,
    chunk_size: int = 100,
) -> np.ndarray:
  """Draws images and keeps them in memory: -> uint8[N, S, S, 3].

  Args:
    sampler: The generator.
    seed: All draws derive from it; image i also from i alone.
    conditions: What to draw, and how many.
    sampling: How to draw; as the sampler does if None.
    chunk_size: Images computed at a time.

  Raises:
    ValueError: If the model does not take these conditions.
  """
  job = Job(
      out='',
      conditions=conditions,
      seed=seed,
      sampling=sampler.sampling if sampling is None else sampling,
      chunk_size=chunk_size,
  )
  chunks = range(-(-conditions.num_images // chunk_size))
  images = []
  with tqdm.tqdm(
      total=conditions.num_images, unit='image', desc='sample'
  ) as bar:
    for _, drawn in _draw_chunks(sampler, job, chunks):
      images.append(drawn)
      bar.update(len(drawn))
  return np.concatenate(images)


def _draw_chunks(
    sampler: Sampler, job: Job, chunks: Iterable[int]
) -> Iterator[tuple[int, np.ndarray]]:
  """Draws chunks: yields their numbers and their images, uint8[n, S, S, 3].

  While one is dealt with, the devices already draw the next.
  """
  key, size = jax.random.key(job.seed), job.chunk_size
  under_way = collections.deque()

  def take():
    chunk, images = under_way.popleft()
    return chunk, np.asarray(images)[: job.conditions.num_images - chunk * size]

  for chunk in chunks:
    start = chunk * size
    images = sampler(
        key,
        sampling=job.sampling,
        first_index=start,
        **job.conditions.rows(start, size),
    )
    under_way.append((chunk, images))
    if len(under_way) > 1:
      yield take()
  if under_way:
    yield take()


def _check(sampler: Sampler, job: Job) -> None:
  """Lets the sampler judge all that it will be asked for; computes nothing."""
  # What is cached while shapes are computed would be lost with them.
  _ = sampler.tokenizer.codebooks
  conditions = job.conditions
  distinct = 1 if conditions.values is None else len(conditions.values)
  for start in range(0, min(distinct, conditions.num_images), job.chunk_size):
    jax.eval_shape(
        functools.partial(
            sampler.codes,
            sampling=job.sampling,
            **conditions.rows(start, job.chunk_size),
        ),
        jax.random.key(job.seed),
    )


def _files_of(job: Job, image_size: int) -> sample_files.Files:
  return sample_files.Files(
      folder=epath.Path(job.out),
      format=job.format,
      num_images=job.conditions.num_images,
      image_size=image_size,
      chunk_size=job.chunk_size,
      shard_size=job.shard_size,
      labels=job.conditions.labels,
  )


def _missing(files: sample_files.Files) -> list[int]:
  finished = files.finished()
  return [c for c in range(files.num_chunks) if c not in finished]


def _draw_missing(
    sampler: Sampler,
    job: Job,
    files: sample_files.Files,
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
      tqdm.tqdm(
          total=total,
          initial=total - images_in(left),
          unit='image',
          desc='sample',
          disable=jax.process_index() > 0,
      ) as bar,
  ):
    chunks = itertools.takewhile(lambda c: not signals.requested(c), left)
    for chunk, images in _draw_chunks(sampler, job, chunks):
      files.write(chunk, images, pool)
      bar.update(len(images))


def _finish(files: sample_files.Files, signals: interrupts.Interrupts) -> None:
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

  if _missing(files):
    stop()
  try:
    if jax.process_index() == 0 and not files.complete():
      files.finish(check)
  finally:
    _wait_for_all('joined')
  if not files.complete():
    stop()


def _wait_for_all(point: str) -> None:
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(f'sample: {point}')
