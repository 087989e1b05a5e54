"""Constants of a device, computed from known times."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.jobs import timing
from rq_jax.jobs.benchmark import constants
from rq_jax.jobs.compile import cpu_rates
from rq_jax.jobs.compile import estimate
from rq_jax.jobs.plan import chips

RATES = estimate.Rates(peak={'float32': 2e9}, bytes_per_second=5e9)
CHIP = chips.Chip(name='x', bytes_per_second=3e9, flops16=8e12, flops32=2e12)


@pytest.fixture
def measured(monkeypatch):
  """Makes every measurement half a second; returns the measured functions."""
  found = []

  def measure(fn, repeats):
    assert repeats == 7
    found.append(fn)
    return timing.Timing(
        first=99.0, compiler=99.0, seconds=(0.25, 0.5, 8.0), cpu_seconds=(9.0,)
    )

  monkeypatch.setattr(timing, 'measure', measure)
  return found


def run(monkeypatch, backend, dtype):
  asked = []
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  monkeypatch.setattr(cpu_rates, 'measure', lambda repeats: RATES)
  monkeypatch.setattr(
      timing, 'calibrate', lambda dtype: asked.append(dtype) or CHIP
  )
  return asked, constants.run(dtype, 7)


def test_constants_are_shares_of_the_peaks_and_microseconds(
    measured, monkeypatch
):
  asked, found = run(monkeypatch, 'cpu', None)
  assert asked == ['float32']
  rates = [
      constants.Constant(name=n, value=v, unit=unit)
      for n, v, unit in cpu_rates.described(RATES)
  ]
  assert found[-len(rates) :] == rates
  del found[-len(rates) :]
  assert len({c.name for c in found}) == len(found) == len(measured) + 2
  rows, width, codes, side, channels = 128, 384, 4096, 64, 32
  products = 200 * 2 * rows * width * (4 * width)
  convolution = 2 * 4 * side**2 * 3 * 3 * channels**2
  # Logits and codes have 4 bytes each, read once and written once.
  sort = 0.5 * 3e9 / (rows * codes * (4 + 4) * 2)
  expected = [
      ('peak of a large product', 2.0, 'TFLOP/s'),
      ('copy', 3.0, 'GB/s'),
      (
          'products of 128 rows, width 384',
          100 * products / 0.5 / 2e12,
          '% of the peak',
      ),
      (
          'convolution 3x3 of 64x64x32',
          100 * convolution / 0.5 / 2e12,
          '% of the peak',
      ),
      (
          'sort of 128 x 4096 with indices',
          sort,
          'times reading and writing all',
      ),
      ('from one kernel to the next, unrolled', 0.5e6 / 200, 'us'),
      ('from one kernel to the next, in a loop', 0.5e6 / 200, 'us'),
  ]
  for one, (name, value, unit) in zip(found, expected, strict=True):
    assert (one.name, one.unit) == (name, unit)
    assert one.value == pytest.approx(value, rel=1e-12)


def test_the_peak_is_that_of_the_dtype(measured, monkeypatch):
  asked, found = run(monkeypatch, 'cpu', 'bfloat16')
  assert asked == ['bfloat16']
  assert found[0].value == 8
  # Nothing is cast: inputs of both kinds of kernels have that dtype, too.
  chain, convolution = measured[:2]
  assert chain().dtype == convolution().dtype == jnp.bfloat16


def test_operations_are_as_many_as_are_counted(measured):
  flops = {
      'chain': 0.5 * constants._chain_flops(2, 8, 'float32', 7),
      'convolution': 0.5 * constants._convolution_flops(2, 6, 4, 'float32', 7),
  }
  chain, convolution = measured
  assert flops['chain'] == 200 * 2 * 2 * 8 * 32
  assert chain().shape == (2, 8)
  assert np.all(np.isfinite(chain()))
  assert flops['convolution'] == 2 * (2 * 6 * 6) * (3 * 3 * 4) * 4
  # Each output sums 9 ones of 4 channels; at the border it sums fewer.
  expected = np.full((2, 6, 6, 4), 36.0)
  expected[:, [0, -1]] *= 2 / 3
  expected[:, :, [0, -1]] *= 2 / 3
  np.testing.assert_allclose(convolution(), expected, rtol=1e-6)


def test_a_sort_takes_the_codes_along(measured):
  assert constants._sort_seconds(3, 10, 7) == 0.5
  logits, codes = measured[0]()
  given = jax.random.normal(jax.random.key(0), (3, 10))
  np.testing.assert_array_equal(logits, np.sort(given, axis=-1))
  np.testing.assert_array_equal(codes, np.argsort(given, axis=-1))


def test_kernels_follow_each_other_in_both_ways(measured):
  assert constants._gaps(7) == {'unrolled': 0.0025, 'in a loop': 0.0025}
  unrolled, looped = (fn() for fn in measured)
  x = np.ones((8, 128))
  for _ in range(200):
    x = np.tanh(np.flip(np.cumsum(x, axis=1), axis=1))
  np.testing.assert_allclose(unrolled, x, rtol=1e-4)
  np.testing.assert_allclose(looped, x, rtol=1e-4)


def test_the_table_has_a_row_for_each():
  found = [
      constants.Constant(name='a', value=1234.56, unit='us'),
      constants.Constant(name='b', value=math.pi, unit='GB/s'),
  ]
  assert constants.table(found).splitlines()[2:] == [
      '| a | 1235 us |',
      '| b | 3.142 GB/s |',
  ]
