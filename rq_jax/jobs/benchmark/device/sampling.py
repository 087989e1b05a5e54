"""Times of the sampler in a device check."""

from collections.abc import Callable, Iterator
from concurrent import futures
import dataclasses
import functools
import math
import time
from typing import Any

import jax

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.jobs import stand_in
from rq_jax.jobs import timing
from rq_jax.jobs.benchmark import measured
from rq_jax.jobs.benchmark import roofline
from rq_jax.jobs.benchmark.device import cases as cases_lib
from rq_jax.jobs.benchmark.device import report as report_lib
from rq_jax.jobs.plan.chips import Chip
from rq_jax.sampling import Sampler
from rq_jax.sampling.kernels import choice

# Seconds that the programs of a group may take to compile.
_GROUP_S = 150
_DECODING_S = 45


def run(
    check: cases_lib.Cases, report: report_lib.Report, chip: Chip
) -> Iterator[report_lib.Case]:
  """Yields the drawing of each batch with each kind of kernels.

  All programs of a group of batches are compiled at the same time, in threads,
  before the first of them is timed.

  Args:
    check: What to measure.
    report: Where the time that is left is known.
    chip: The peak of the device.
  """
  prior = check.rqtransformer.model
  sampler = stand_in.sampler(prior, check.tokenizer_of(prior), check.dtype)
  samplers = {}
  for kernels in check.kernels:
    try:
      choice.check_devices(kernels, jax.local_devices()[:1])
      choice.check_model(kernels, sampler.prior)
    except ValueError as error:
      yield f'kernels {kernels}', functools.partial(_skip, str(error))
      continue
    samplers[kernels] = dataclasses.replace(sampler, kernels=kernels)
    _ = samplers[kernels].engine  # Lays out the weights.
  for group in check.batches:
    yield from _group(group, samplers, check, report, chip)


def _group(group, samplers, check, report, chip):
  calls = {
      (batch, kernels): functools.partial(_codes, sampler, batch)
      for batch in group
      for kernels, sampler in samplers.items()
  }
  if report.left() < _GROUP_S:
    for key in calls:
      yield _name(*key), lambda: report.require(_GROUP_S)
    return
  with futures.ThreadPoolExecutor(len(calls)) as pool:
    firsts = {key: pool.submit(_first, call) for key, call in calls.items()}
  for key, call in calls.items():

    def work(key=key, call=call):
      first = firsts[key].result()  # Raises the error of its thread.
      times = timing.measure(call, check.repeats)
      return _record(key, samplers[key[1]], times, first, chip)

    yield _name(*key), work


def _name(batch: int, kernels: str) -> str:
  return f'batch {batch}, {kernels}'


def _skip(why: str) -> None:
  raise report_lib.SkippedError(why)


def _codes(sampler: Sampler, batch: int) -> jax.Array:
  condition = stand_in.condition_of(sampler.prior, batch)
  return sampler.codes(jax.random.key(0), **condition)


def _first(call: Callable[[], Any]) -> float:
  """Seconds of the first call, which compiles."""
  start = time.perf_counter()
  jax.block_until_ready(call())
  return time.perf_counter() - start


def _record(key, sampler: Sampler, times, first: float, chip: Chip):
  batch, kernels = key
  prior = sampler.prior
  terms = roofline.autoregression(prior, batch, guided=False)
  ideal = math.fsum(roofline.ideal_seconds(terms, chip, prior.dtype).values())
  return {
      'batch_size': batch,
      'kernels': kernels,
      'dtype': prior.dtype,
      'seconds': measured.spread(times),
      'cpu_seconds': times.cpu_median,
      'ms_per_image': 1e3 * times.median / batch,
      'us_per_position': 1e6 * times.median / prior.positions,
      'ideal_seconds': ideal,
      # Of a call while other programs were compiled, too.
      'first_call_seconds': first,
  }


def decoding(
    check: cases_lib.Cases, report: report_lib.Report
) -> Iterator[report_lib.Case]:
  """Yields the decoding of each batch of codes into images."""
  prior = check.rqtransformer.model
  sampler = stand_in.sampler(prior, check.tokenizer_of(prior), check.dtype)
  tokenizer = sampler.tokenizer
  for batch in (batch for group in check.batches for batch in group):

    def work(batch=batch):
      report.require(_DECODING_S)
      codes = jax.numpy.zeros((batch, *prior.code_shape), jax.numpy.int32)
      times = timing.measure(
          lambda: tokenizer_lib.decode_known(tokenizer, codes), check.repeats
      )
      return {
          'batch_size': batch,
          'seconds': measured.spread(times),
          'ms_per_image': 1e3 * times.median / batch,
          'first_call_seconds': times.first,
      }

    yield f'batch {batch}', work
