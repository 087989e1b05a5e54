"""Rates of a CPU, computed from known times."""

import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.jobs import timing
from rq_jax.jobs.compile import cpu_rates
from rq_jax.jobs.compile import estimate

SECONDS = 0.25


@pytest.fixture(scope='module')
def measured():
  """Rates of functions that all take a quarter of a second, and their results.

  The sizes are an eighth of the real ones.
  """
  results = []

  def measure(fn, repeats):
    assert repeats == 3
    results.append(np.asarray(fn()))
    return timing.Timing(
        first=9.0,
        compiler=9.0,
        seconds=(9.0, 9.0),
        cpu_seconds=(SECONDS, 4 * SECONDS),
    )

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(timing, 'measure', measure)
    rates = cpu_rates.measure(3, scale=8)
  return rates, results


def test_rates_are_operations_by_the_least_cpu_time(measured):
  rates, _ = measured
  peak = 2 * 256**3 / SECONDS
  convolution = 2 * 8 * 8 * 8 * 64 * 9 * 64 / SECONDS
  assert rates.peak == {'float32': peak}
  assert rates.convolutions == pytest.approx(convolution / peak)
  assert rates.weight_gradients == pytest.approx(convolution / peak)
  assert rates.bytes_per_second == 2 * 2**22 / SECONDS
  assert rates.gap_seconds == SECONDS / 200
  assert rates.sort_passes == 1
  for curve in (rates.products, rates.products_by_output):
    assert [rows for rows, _ in curve] == [1, 8, 32, 128, 512]
    for rows, share in curve:
      flops = 24 * 2 * rows * 64 * 256
      assert share == pytest.approx(flops / SECONDS / peak)


def test_elementwise_operations_are_as_many_as_are_counted(measured):
  rates, _ = measured
  # The random bits of a number take about a hundred operations.
  each = rates.elementwise * SECONDS / 256**2
  assert 20 < each < 400


def test_the_measured_functions_compute_what_they_should(measured):
  _, results = measured
  product, convolution, gradient, *chains = results[:13]
  np.testing.assert_array_equal(product, np.full((256, 256), 256.0))
  # Sums of 9 places of 64 channels, fewer at the border.
  assert convolution[0, 1, 1, 0] == 9 * 64
  assert convolution[0, 0, 0, 0] == 4 * 64
  # The middle of the kernel meets all 8 x 8 places of 8 images.
  assert gradient[1, 1, 0, 0] == 8 * 8 * 8
  for rows, by_input, by_output in zip(
      (1, 8, 32, 128, 512), chains[:5], chains[5:]
  ):
    assert by_input.shape == (rows, 64)
    # Both layouts compute the same: 24 products with equal weights.
    np.testing.assert_allclose(by_input, by_output, rtol=1e-4)
    np.testing.assert_allclose(by_input, 4.0**12, rtol=1e-4)
  copied, activated, unrolled = results[13:]
  np.testing.assert_array_equal(copied, -1.0)
  kept = np.mean(activated != 0)
  assert 0.85 < kept < 0.95
  np.testing.assert_array_equal(unrolled, jnp.full((8, 128), 201.0))


def test_rates_are_rows_of_a_table():
  rates = estimate.Rates(
      peak={'float32': 2e9},
      bytes_per_second=5e9,
      products=((1, 0.5), (8, 0.75)),
      products_by_output=((1, 0.25),),
      convolutions=0.1,
      weight_gradients=0.2,
      elementwise=3e9,
      gap_seconds=2e-6,
  )
  flop = 'GFLOP per CPU second'
  assert cpu_rates.described(rates) == [
      ('copy', 5.0, 'GB per CPU second'),
      ('gap', 2.0, 'CPU us'),
      ('large product', 2.0, flop),
      ('products, rows 1, weights [inputs, outputs]', 1.0, flop),
      ('products, rows 8, weights [inputs, outputs]', 1.5, flop),
      ('products, rows 1, weights [outputs, inputs]', 0.5, flop),
      ('convolution', 0.2, flop),
      ('weight gradient of a convolution', 0.4, flop),
      ('elementwise operations', 3.0, flop),
  ]
