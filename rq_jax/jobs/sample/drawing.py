"""Draws images in chunks of one size, on all devices of a process."""

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import functools
import hashlib
from typing import Any, TypeVar

from etils import epath
import jax
import numpy as np

from rq_jax import compilation
from rq_jax import config as config_lib
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import steps
from rq_jax.checkpoints import stored
from rq_jax.distributed import console
from rq_jax.distributed import partitioning
from rq_jax.distributed import progress
from rq_jax.jobs.sample.conditions import Conditions
from rq_jax.sampling import Sampler
from rq_jax.sampling import Sampling
from rq_jax.sampling.kernels import choice
from rq_jax.typing import Device

_Arrays = TypeVar('_Arrays')
_ABOUT = 100  # Images in a chunk by default, before rounding up.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
  """Images to draw; image i depends only on the seed, i and its condition.

  Attributes:
    sampler: The generator.
    conditions: The conditions and the number of the images.
    seed: Seed of all draws, in [0, 2**32).
    sampling: Options of the draws.
    chunk_size: Number of images computed at a time, or all images if they are
      fewer. The last of several chunks is padded, so that all chunks run the
      same program.

  Raises:
    ValueError: If the seed is out of range.
  """

  sampler: Sampler
  conditions: Conditions
  seed: int = 0
  sampling: Sampling = Sampling()
  chunk_size: int = _ABOUT

  def __post_init__(self):
    config_lib.check_seed(self.seed)

  @property
  def _batch(self) -> int:
    return min(self.chunk_size, self.conditions.num_images)

  def check(self) -> None:
    """Lets the sampler check all its arguments, without computing anything.

    Raises:
      ValueError: If the model does not take the conditions or the options.
    """
    values, num_images = self.conditions.values, self.conditions.num_images
    distinct = 1 if values is None else min(len(values), num_images)
    for start in range(0, distinct, self.chunk_size):
      self.sampler.check(
          sampling=self.sampling,
          **self.conditions.rows(start, self._batch),
      )

  def described(self) -> dict[str, Any]:
    """All values that decide the images, except for their number."""
    return {
        'model': self._fingerprints(),
        'seed': self.seed,
        'conditions': self.conditions.described(),
        'sampling': dataclasses.asdict(self.sampling),
        'chunk_size': self.chunk_size,
    }

  def _fingerprints(self) -> dict[str, str]:
    """Hashes of the models, and of the text tokenizer if it is used."""
    found = {
        'prior': inference_copy.fingerprint(self.sampler.prior_variables),
        'tokenizer': self.sampler.tokenizer.fingerprint,
    }
    text_tokenizer = self.sampler.text_tokenizer
    if self.conditions.kind == 'prompts' and text_tokenizer is not None:
      contents = epath.Path(text_tokenizer).read_bytes()
      found['text_tokenizer'] = hashlib.sha256(contents).hexdigest()
    return found

  def chunks(self, numbers: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Draws chunks; yields their numbers and their images, uint8[n, Y, X, 3].

    The devices already draw the next chunk while the caller uses one.
    """
    key = jax.random.key(self.seed)

    def start(number):
      first = number * self.chunk_size
      return self.sampler(
          key,
          sampling=self.sampling,
          first_index=first,
          **self.conditions.rows(first, self._batch),
      )

    for number, images in one_ahead(numbers, start, 'the sampler'):
      valid = self.conditions.num_images - number * self.chunk_size
      yield number, np.asarray(images)[:valid]

  def images(self) -> np.ndarray:
    """Draws all images into memory: uint8[N, Y, X, 3]."""
    total, drawn = self.conditions.num_images, []
    with progress.bar(total=total, unit='image', desc='sample') as bar:
      for _, images in self.chunks(range(-(-total // self.chunk_size))):
        drawn.append(images)
        bar.update(len(images))
    return np.concatenate(drawn)


def one_ahead(
    numbers: Iterable[int], start: Callable[[int], _Arrays], what: str
) -> Iterator[tuple[int, _Arrays]]:
  """Starts to compute each chunk before it yields the chunk before it.

  Args:
    numbers: Numbers of the chunks.
    start: Starts to compute a chunk on the devices.
    what: What the first call compiles, such as 'the sampler'.

  Yields:
    The number of each chunk and its arrays.
  """
  under_way = collections.deque()
  for i, number in enumerate(numbers):
    with console.compiling(what, first=i == 0):
      arrays = start(number)
    under_way.append((number, arrays))
    if len(under_way) > 1:
      yield under_way.popleft()
    # Waits until the memory of this chunk is free, because the sampler checks
    # the free memory for the next chunk.
    jax.block_until_ready(arrays)
  if under_way:
    yield under_way.popleft()


def default_chunk_size(
    model_parallel: int, *, devices: int | None = None
) -> int:
  """About a hundred images, which devices can split evenly.

  Args:
    model_parallel: Devices that share the weights of one model.
    devices: Number of devices; None for those of this process.
  """
  parallel = max(1, (devices or len(jax.local_devices())) // model_parallel)
  return -(-_ABOUT // parallel) * parallel


def restore(
    checkpoint: str,
    *,
    chunk_size: int,
    model_parallel: int = 1,
    step: int | None = None,
    ema: bool = True,
    dtype: str | None = None,
    tokenizer: str | None = None,
    text_tokenizer: str | None = None,
    verify: bool = True,
    kernels: str = 'xla',
    weights: str = 'float',
) -> tuple[Sampler, dict[str, Any]]:
  """Restores a sampler onto all devices of this process.

  Keeps the programs that are compiled from now on; see `compilation.keep`.

  Args:
    checkpoint: The workdir of a stage-2 run, or a converted checkpoint.
    chunk_size: Number of images that the devices draw together.
    model_parallel: Number of devices that share the weights of one model.
    step: Step of the checkpoint; None for the newest.
    ema: Whether to use the averaged parameters, if the run has them.
    dtype: Type of parameters and computation; None for the type of training.
    tokenizer: Path of another copy of the tokenizer; None for the model's own.
    text_tokenizer: File for prompts; None for the file of the checkpoint.
    verify: Whether to compare files and arrays with their stored hashes.
    kernels: What computes the steps, see `sampling.kernels.choice`.
    weights: What holds the weights, see `sampling.kernels.choice`.

  Returns:
    The sampler, and a description of its origin for the manifest.

  Raises:
    ValueError: If there is no such model, or it does not suit the devices.
  """
  compilation.keep()
  mesh = mesh_of(jax.local_devices(), chunk_size, model_parallel)
  choice.check_devices(kernels, jax.local_devices())
  step, sampler = _newest_whole(
      checkpoint,
      step,
      functools.partial(
          Sampler.restore,
          checkpoint,
          ema=ema,
          dtype=dtype,
          mesh=mesh,
          tokenizer=tokenizer,
          text_tokenizer=text_tokenizer,
          verify=verify,
      ),
  )
  ema = ema and stored.has_collection(
      checkpoint, 'ema_params', step=step, verify=verify
  )
  origin = {'checkpoint': str(checkpoint), 'step': step, 'ema': ema}
  sampler = dataclasses.replace(sampler, kernels=kernels, weights=weights)
  return sampler, origin | _computation(sampler)


def _computation(sampler: Sampler) -> dict[str, str]:
  """What decides how numbers are rounded."""
  found = {'dtype': sampler.prior.dtype}
  # Jobs of earlier versions do not name these.
  if sampler.kernels != 'xla':
    found['kernels'] = sampler.kernels
  if sampler.weights != 'float':
    found['weights'] = sampler.weights
  return found


def _newest_whole(
    checkpoint: str, step: int | None, restore: Callable[..., Sampler]
) -> tuple[int, Sampler]:
  """The given step, or the newest that can be restored, and its sampler."""
  stored.read_config(checkpoint, stage=2)
  restored = {}

  def problem(step: int) -> str | None:
    try:
      restored[step] = restore(step=step)
    except steps.DamagedError as error:
      return error.reason
    return None

  step = steps.find(checkpoint, step, problem)
  return step, restored[step]


def mesh_of(
    devices: Sequence[Device], chunk_size: int, model_parallel: int
) -> jax.sharding.Mesh | None:
  """The mesh of devices that draw chunks together; None for one device.

  Raises:
    ValueError: If the devices cannot be divided, or cannot divide a chunk.
  """
  if len(devices) % model_parallel:
    raise ValueError(
        f'--model_parallel={model_parallel} must divide the number of devices'
        f' of a process, {len(devices)}. Change --model_parallel.'
    )
  if len(devices) == 1:
    return None
  mesh = partitioning.make_mesh(
      {'data': -1, 'model': model_parallel}, devices=list(devices)
  )
  parallel = partitioning.batch_parallelism(mesh)
  if chunk_size % parallel:
    raise ValueError(
        f'--chunk_size={chunk_size} must be a multiple of {parallel}, the'
        ' number of groups of --model_parallel devices that split a chunk. Set'
        f' --chunk_size={-(-chunk_size // parallel) * parallel}.'
    )
  return mesh
