"""Records of the results of benchmarks, ready for JSON."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import os
from typing import Any

import jax

from rq_jax.jobs import versions
from rq_jax.jobs.benchmark import roofline
from rq_jax.jobs.plan import chips
from rq_jax.jobs.plan.chips import Chip
from rq_jax.jobs.timing import Timing
from rq_jax.sampling import Sampler
from rq_jax.sampling import Sampling

Record = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
  """Options of the timing of sampling.

  Attributes:
    batch_sizes: Numbers of images drawn at once; each gives one record.
    sampling: Options of the draws.
    repeats: Number of timed calls, after one call that compiles.
    decode: Whether to time the decoder of the tokenizer, too.
    kernels: What computes the steps, see `sampling.kernels.choice`.
    weights: What holds the weights, see `sampling.kernels.choice`.
  """

  batch_sizes: Sequence[int]
  sampling: Sampling = Sampling()
  repeats: int = 3
  decode: bool = True
  kernels: str = 'xla'
  weights: str = 'float'


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimedBatch:
  """The timings of one batch.

  Attributes:
    batch: Number of images.
    parts: Timings of 'autoregression' and, if it was timed, of 'decoding'.
    memory: Peak memory until the end of these timings; see
      `timing.peak_memory`.
  """

  batch: int
  parts: Mapping[str, Timing]
  memory: Mapping[str, int | str]


def of_sampling(
    name: str,
    sampler: Sampler,
    options: Options,
    timed: TimedBatch,
    bare: Timing,
    calibration: Chip,
) -> Record:
  """The record of a batch: its times, its work and its environment.

  Args:
    name: Name of the model.
    sampler: The sampler that drew the batch.
    options: Options of the timing.
    timed: Timings of drawing the batch.
    bare: Timings of only its matrix products.
    calibration: The device with its measured rates.
  """
  prior, batch = sampler.prior, timed.batch
  chip = chips.find(calibration.name) or calibration
  parts = timed.parts
  terms = {
      'autoregression': roofline.autoregression(
          prior,
          batch,
          guided=options.sampling.guided,
          weights=sampler.weights,
      )
  }
  if 'decoding' in parts:
    terms['decoding'] = roofline.decoding(sampler.tokenizer.model, batch)
  seconds = {part: times.median for part, times in parts.items()}
  parts_ms = {part: 1e3 * s / batch for part, s in seconds.items()}
  return {
      'kind': 'sampling',
      'model': name,
      'batch_size': batch,
      'dtype': prior.dtype,
      'code_shape': list(prior.code_shape),
      'codebook_size': max(prior.sizes),
      'sampling': dataclasses.asdict(options.sampling),
      'kernels': sampler.kernels,
      'weights': sampler.weights,
      'layer_passes': roofline.layer_passes(prior),
      'ms_per_image': {'total': sum(parts_ms.values()), **parts_ms},
      'seconds': {part: spread(times) for part, times in parts.items()},
      'cpu_seconds': {part: times.cpu_median for part, times in parts.items()},
      'compile_seconds': {
          part: {'first_call': times.compilation, 'compiler': times.compiler}
          for part, times in parts.items()
      },
      'peak_memory': timed.memory,
      'roofline': _roofline(terms, seconds, chip, prior.dtype),
      'calibration': {
          'product_flops_per_second': calibration.flops(prior.dtype),
          'copy_bytes_per_second': calibration.bytes_per_second,
      },
      'bare_products': _beside(bare, parts['autoregression']),
      'environment': environment(),
  }


def spread(times: Timing) -> dict[str, float]:
  """Median, least and largest seconds of a call."""
  return {
      'median': times.median,
      'min': min(times.seconds),
      'max': max(times.seconds),
  }


def _beside(bare: Timing, autoregression: Timing) -> Record:
  """Times of only the products, and the autoregression's ratio to them."""
  return {
      'seconds': spread(bare),
      'cpu_seconds': bare.cpu_median,
      'ratio': autoregression.median / bare.median,
      # The more reliable ratio if other programs use the same CPUs.
      'cpu_ratio': autoregression.cpu_median / bare.cpu_median,
  }


def _roofline(
    terms: Mapping[str, roofline.Terms],
    seconds: Mapping[str, float],
    chip: Chip,
    dtype: str,
) -> Record:
  """The work of each part by term, and its share of the measured time."""
  flops, ideal, share = {}, {}, {}
  for part, work in terms.items():
    flops |= roofline.operations(work)
    least = roofline.ideal_seconds(work, chip, dtype)
    ideal |= least
    share |= {term: s / seconds[part] for term, s in least.items()}
    share[part] = math.fsum(least.values()) / seconds[part]
  return {
      'chip': chip.name,
      'source': chip.source,
      'bytes_per_second': chip.bytes_per_second,
      'flops_per_second': chip.flops(dtype),
      'flops': flops,
      'ideal_seconds': ideal,
      'share': share,
  }


def environment() -> Record:
  """The device, the number of CPU threads, and the versions of packages."""
  device = jax.devices()[0]
  return {
      'device': device.device_kind,
      'platform': device.platform,
      'threads': len(os.sched_getaffinity(0)),
      'versions': versions.of('jax', 'jaxlib', 'flax', 'rq_jax'),
  }
