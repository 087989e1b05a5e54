"""Times the loading of data: from disk to batch, beside a bare loop.

The bare loop reads, decodes and crops the same images in the same run, in as
many threads as the loader has without worker processes. Their ratio therefore
shows the cost of the loader, independent of the images, the disk and the load
of the machine.
"""

from collections.abc import Callable, Mapping, Sequence
import concurrent.futures
import contextlib
import dataclasses
import os
import statistics
import time
from typing import Any

import numpy as np

from rq_jax.config import Experiment
from rq_jax.config import rules
from rq_jax.config import sections
from rq_jax.data import image_files
from rq_jax.data import loader
from rq_jax.data import sources
from rq_jax.data import subset
from rq_jax.distributed import console
from rq_jax.distributed import progress
from rq_jax.jobs.benchmark import jsonl as jsonl_lib
from rq_jax.jobs.benchmark import loading_table
from rq_jax.jobs.plan import estimate
from rq_jax.jobs.plan import table as plan_table

# Batches of a timed pass, at least, and batches before it.
_BATCHES = 8
_SEED = 0


def run(
    experiment: Experiment,
    *,
    workers: Sequence[int],
    num_images: int,
    repeats: int,
    jsonl: str | None = None,
) -> None:
  """Times the training data of an experiment; prints JSON, then a table.

  Args:
    experiment: An experiment whose data source has images.
    workers: Numbers of worker processes; each is timed.
    num_images: Largest number of images in a pass.
    repeats: Number of passes of the loader and of the loop; medians count.
    jsonl: File to which the lines are appended, if any.

  Raises:
    ValueError: If the source has no images, or an image cannot be read.
    OSError: If the file cannot be written.
  """
  data = experiment.data
  rules.check_images(data)
  source = sources.open_source(data, 'train')
  examples = subset.Subset(source, range(min(num_images, len(source))))
  transform = loader.image_transform(data, train=True)
  size = max(1, min(data.batch_size, num_images // _BATCHES))
  record = {
      'benchmark': 'data',
      'data': dataclasses.asdict(data),
      'images': len(examples),
      'threads': os.cpu_count() or 1,
      'images_per_batch': size,
      'consumed': _consumed(experiment),
      'utilisation': plan_table.UTILISATION,
  }
  with (
      jsonl_lib.writer(jsonl) as write,
      progress.bar(total=1 + len(workers), unit='timing', desc='data') as bar,
  ):
    record['seconds_per_image'] = shares(source, data, transform, examples)
    bar.update()
    records = []
    for number in workers:
      options = {'transform': transform, 'size': size, 'workers': number}
      # In turn, so that both see the same load of the machine.
      rates = [
          (
              loader_rate(examples, **options),
              bare_rate(examples, transform, record['threads']),
          )
          for _ in range(repeats)
      ]
      loaded, bare = map(statistics.median, zip(*rates))
      timed = {'workers': number, 'loader': loaded, 'bare_loop': bare}
      records.append({**record, **timed, 'ratio': loaded / bare})
      write(records[-1])
      bar.update()
  console.tell(f'\n{loading_table.text(records)}')


def shares(
    source: Any,
    data: sections.Data,
    transform: loader.Transform,
    examples: sources.Examples,
) -> Mapping[str, float]:
  """Seconds per image and kind of work, in one thread.

  Sources of image files return their content, so that reading is timed without
  decoding.
  """
  reader = image_files.reader(data)
  spent: dict[str, float] = {}

  def timed(name: str, fn: Callable[..., Any], *args: Any) -> Any:
    start = time.perf_counter()
    result = fn(*args)
    spent[name] = spent.get(name, 0.0) + time.perf_counter() - start
    return result

  for i in range(len(examples)):
    if isinstance(source, sources.ImageFiles):
      content = timed('reading', source.content, i)
      example = {'image': timed('decoding', reader.decode, content, str(i))}
    else:
      example = timed('reading and decoding', source.__getitem__, i)
    timed('cropping', transform, example, np.random.default_rng(i))
  return {name: seconds / len(examples) for name, seconds in spent.items()}


def bare_rate(
    examples: sources.Examples, transform: loader.Transform, threads: int
) -> float:
  """Images per second of a loop that only reads, decodes and crops."""

  def load(index: int) -> None:
    transform(examples[index], np.random.default_rng(index))

  with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    start = time.perf_counter()
    for _ in pool.map(load, range(len(examples))):
      pass
    return len(examples) / (time.perf_counter() - start)


def loader_rate(
    examples: sources.Examples,
    *,
    transform: loader.Transform,
    size: int,
    workers: int,
) -> float:
  """Images per second of the loader, in batches of `size`.

  The time to start does not count. Neither do the batches made in that time.
  """
  batches = loader.train_batches(
      examples,
      transform=transform,
      batch_size=size,
      seed=_SEED,
      workers=workers,
  )
  timed = -(-len(examples) // size)
  with contextlib.closing(batches):
    for _ in range(_BATCHES):
      next(batches)
    start = time.perf_counter()
    for _ in range(timed):
      next(batches)
    return timed * size / (time.perf_counter() - start)


def _consumed(experiment: Experiment) -> dict[str, float]:
  """Images per second that one chip of each kind trains on, as in a plan."""
  on_one_chip = dataclasses.replace(experiment, mesh=sections.Mesh())
  return plan_table.images_per_second(estimate.make(on_one_chip, 1))
