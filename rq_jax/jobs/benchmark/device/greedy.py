"""Greedy codes of a small model on the device against those on the CPU."""

from collections.abc import Iterator
import dataclasses
import functools

import jax
import numpy as np

from rq_jax.jobs import stand_in
from rq_jax.jobs.benchmark.device import cases as cases_lib
from rq_jax.jobs.benchmark.device import report as report_lib
from rq_jax.sampling import Sampler
from rq_jax.sampling import Sampling


def run(check: cases_lib.Cases) -> Iterator[report_lib.Case]:
  """Yields the comparison for each kind of kernels, in float32.

  Products have the precision HIGHEST on both.
  """
  with jax.default_matmul_precision('highest'):
    cpu = jax.devices('cpu')[0]
    with jax.default_device(cpu):
      sampler = _sampler(check)
      expected = np.asarray(_codes(sampler, check))
    on_device = _placed(sampler, jax.local_devices()[0])
  for kernels in check.kernels:
    yield kernels, functools.partial(_compare, on_device, kernels, expected,
                                     check)  # fmt: skip


def _sampler(check: cases_lib.Cases) -> Sampler:
  prior = check.greedy_prior
  return stand_in.sampler(prior, check.tokenizer_of(prior), 'float32')


def _placed(sampler: Sampler, device) -> Sampler:
  """A sampler with the same weights on another device."""
  tokenizer = dataclasses.replace(
      sampler.tokenizer,
      variables=jax.device_put(sampler.tokenizer.variables, device),
  )
  return dataclasses.replace(
      sampler,
      prior_variables=jax.device_put(sampler.prior_variables, device),
      tokenizer=tokenizer,
  )


def _compare(
    sampler: Sampler, kernels: str, expected: np.ndarray, check: cases_lib.Cases
) -> dict[str, float]:
  sampler = dataclasses.replace(sampler, kernels=kernels)
  with jax.default_matmul_precision('highest'):
    try:
      sampler.engine  # noqa: B018  It checks the kernels.
    except ValueError as error:
      raise report_lib.SkippedError(str(error)) from error
    found = np.asarray(_codes(sampler, check))
  same = found == expected
  return {
      'codes': same.size,
      'share_equal': float(same.mean()),
      # A code that differs changes the codes after it.
      'share_of_maps_equal': float(same.all(axis=(1, 2, 3)).mean()),
      'first_position_equal': float(same[:, 0, 0].mean()),
  }


def _codes(sampler: Sampler, check: cases_lib.Cases) -> jax.Array:
  condition = stand_in.condition_of(sampler.prior, check.greedy_batch)
  return sampler.codes(
      jax.random.key(0), sampling=Sampling(top_k=1), **condition
  )
