"""Kernels are compared with their plain forms, and timed, by a device check."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from rq_jax.jobs.benchmark.device import cases as cases_lib
from rq_jax.jobs.benchmark.device import kernels
from rq_jax.jobs.benchmark.device import report as report_lib


def test_times_are_of_one_copy_of_one_call(monkeypatch):
  check = dataclasses.replace(cases_lib.SMALL, copies=4, calls=20, repeats=1)
  seconds = iter([8.0, 16.0])
  monkeypatch.setattr(
      kernels.timing,
      'measure',
      lambda fn, repeats: kernels.timing.Timing(
          first=0,
          compiler=0,
          seconds=(next(seconds),),
          cpu_seconds=(0.0,),
      )
      if len(fn()) == 4
      else None,
  )
  compared = kernels.Compared(
      lambda x, w, s: (x * w, s + 1),
      lambda x, w, s: (x * w, s + 1),
      jnp.ones(4),
      jnp.full(4, 3.0),
      jnp.zeros(4),
  )
  found = kernels.compare(compared, check)
  # 20 calls of 4 copies.
  assert found['seconds']['kernel']['median'] == 8 / 80
  assert found['ratio'] == 2


def test_only_the_plain_form_needs_a_higher_precision():
  precisions = []

  def multiply(x, weights, state):
    precisions.append(jax.config.jax_default_matmul_precision)
    return x * weights, state

  compared = kernels.Compared(multiply, multiply, jnp.ones(4), jnp.ones(4))
  found = kernels.compare(compared, cases_lib.SMALL)
  assert (found['difference'], found['share_equal']) == (0, 1)
  # For the results, the kernel and the plain form; then for their times.
  assert precisions == [None, 'highest', None, None]


def _compare(monkeypatch, tmp_path, kernel):
  """The case of a kernel for two rows, whose plain form doubles a number."""

  def make(prior, rows, interpret):
    assert (prior.width, interpret) == (32, True)
    x = jnp.arange(1, rows + 1, dtype=jnp.float32)

    def plain(x, weights, state):
      return weights * x, state.at[0].set(x[0])

    return kernels.Compared(
        kernel, plain, x, jnp.full(2, 2.0), jnp.full(9, 7.0)
    )

  monkeypatch.setattr(kernels, '_KERNELS', {'doubling': make})
  report = report_lib.Report(str(tmp_path / 'x.json'), {}, minutes=1)
  report.part('kernels', kernels.run(cases_lib.SMALL, report))
  (case,) = report.record['parts']['kernels']
  assert case['case'] == 'doubling, 2 rows'
  return case


def test_a_right_kernel_is_done(monkeypatch, tmp_path):
  case = _compare(
      monkeypatch, tmp_path, lambda x, _, state: (x + x, state.at[0].set(x[0]))
  )
  assert case['state'] == 'done'
  assert case['found']['difference'] == 0
  assert case['found']['tolerance'] == 1e-5  # Of float32.
  assert case['found']['share_equal'] == 1


@pytest.mark.parametrize(
    ('kernel', 'reason'),
    [
        (lambda x, _, state: (x * jnp.nan, state.at[0].set(x[0])), '2 of 2'),
        (lambda x, _, state: (x + 1, state.at[0].set(x[0])), 'is 0.25.'),
        (lambda x, _, state: (x + x, state), 'array 2 of 2'),
        (lambda x, _, state: (x + x, state.at[1].set(x[0])), 'array 2 of 2'),
    ],
    ids=['NaN', 'another function', 'nothing written', 'another index written'],
)
def test_a_wrong_kernel_has_failed(monkeypatch, tmp_path, kernel, reason):
  case = _compare(monkeypatch, tmp_path, kernel)
  assert case['state'] == 'failed'
  assert reason in case['reason']
