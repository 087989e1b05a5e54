"""Times the drawing of images, and prints the results."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses

import jax
import jax.numpy as jnp

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.config import RQTransformerConfig
from rq_jax.distributed import console
from rq_jax.distributed import progress
from rq_jax.jobs import stand_in
from rq_jax.jobs import timing
from rq_jax.jobs.benchmark import bare_products
from rq_jax.jobs.benchmark import failures as failures_lib
from rq_jax.jobs.benchmark import jsonl as jsonl_lib
from rq_jax.jobs.benchmark import measured
from rq_jax.jobs.benchmark import text_tables
from rq_jax.jobs.benchmark.measured import Options
from rq_jax.jobs.benchmark.measured import Record
from rq_jax.jobs.benchmark.measured import TimedBatch
from rq_jax.jobs.plan.chips import Chip
from rq_jax.models import build
from rq_jax.models import rqtransformer
from rq_jax.sampling import Sampler
from rq_jax.sampling import Sampling
from rq_jax.sampling import requests
from rq_jax.typing import PyTree


def default_dtype() -> str:
  """Type of weights and computation: 'float32' on CPUs, else 'bfloat16'."""
  return 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'


def check(description: RQTransformerConfig, drawing: Sampling) -> None:
  """Raises a ValueError if the model cannot draw with these options."""
  prior = build.rqtransformer(description)
  asked = requests.Asked(**stand_in.condition_of(prior, 1))
  requests.ask(prior, asked, sampling=drawing)


def run(
    models: Mapping[str, Callable[[], Sampler]],
    options: Options,
    *,
    dtype: str,
    jsonl: str | None = None,
    summary: Callable[[Sequence[Record]], str] = text_tables.tables,
) -> None:
  """Times models one after the other; prints lines of JSON, then a summary.

  Args:
    models: Functions that make the samplers, by name. Only one sampler at a
      time is kept in memory.
    options: Options of the timing.
    dtype: Type of weights and computation of the models.
    jsonl: File to which the lines are appended, if any.
    summary: Makes the text that is printed at the end from all records.

  Raises:
    ValueError: If a batch could not be drawn, after all others were timed.
    OSError: If the file cannot be written.
  """
  records, failures = [], []
  with jsonl_lib.writer(jsonl) as write:
    calibration = timing.calibrate(dtype)
    for name, make in models.items():
      sampler = dataclasses.replace(
          make(), kernels=options.kernels, weights=options.weights
      )
      for found in sampling(name, sampler, options, calibration):
        if isinstance(found, ValueError):
          failures.append(found)
          continue
        records.append(found)
        write(found)
  if records:
    console.tell(f'\n{summary(records)}')
  if failures:
    raise ValueError(' '.join(map(str, failures)))


def sampling(
    name: str, sampler: Sampler, options: Options, calibration: Chip
) -> Iterator[Record | ValueError]:
  """Times drawing with a sampler; yields a record for each batch size.

  All batches are drawn before any bare products run, so that the products do
  not count as memory of the sampler.

  Args:
    name: Name of the model in the records.
    sampler: The generator.
    options: Options of the timing.
    calibration: The device with its measured rates; see `timing.calibrate`.

  Yields:
    The records, followed by an error for each batch that could not be drawn.
  """
  timed, bare, failures = [], [], []
  total = 2 * len(options.batch_sizes)  # Draws, then products.
  with progress.bar(total=total, unit='timing', desc=name) as bar:
    for batch in options.batch_sizes:
      try:
        timed.append(draw(sampler, batch, options))
      except failures_lib.FAILURES as error:
        why = failures_lib.sentence(
            name, batch, error, instead='a smaller --batch_size'
        )
        failures.append(ValueError(why))
      bar.update()
    weights = (
        bare_products.weights(sampler.prior, kind=sampler.weights)
        if timed
        else None
    )
    for found in timed:
      rows = found.batch * (1 + options.sampling.guided)
      bare.append(time_products(sampler.prior, weights, rows, options.repeats))
      bar.update()
  for found, products in zip(timed, bare):
    yield measured.of_sampling(
        name, sampler, options, found, products, calibration
    )
  yield from failures


def draw(sampler: Sampler, batch: int, options: Options) -> TimedBatch:
  """Times one batch: the autoregression, then the images of its codes."""
  key = jax.random.key(0)
  condition = stand_in.condition_of(sampler.prior, batch)

  def codes():
    return sampler.codes(key, sampling=options.sampling, **condition)

  parts = {'autoregression': timing.measure(codes, options.repeats)}
  if options.decode:
    drawn = codes()
    parts['decoding'] = timing.measure(
        lambda: tokenizer_lib.decode_known(sampler.tokenizer, drawn),
        options.repeats,
    )
  return TimedBatch(batch=batch, parts=parts, memory=timing.peak_memory())


def time_products(
    prior: rqtransformer.RQTransformer,
    weights: PyTree,
    rows: int,
    repeats: int,
) -> timing.Timing:
  """Times only the matrix products of drawing, for a number of rows."""
  x = jnp.ones((rows, prior.width), jnp.dtype(prior.dtype))
  return timing.measure(lambda: bare_products.run(prior, weights, x), repeats)
