"""Estimates against times computed by hand."""

import pytest

from rq_jax.jobs.compile import estimate
from rq_jax.jobs.plan import chips

RATES = estimate.Rates(
    peak={'float32': 1000.0, 'bfloat16': 2000.0},
    bytes_per_second=100.0,
    products=((1, 0.1), (100, 0.4), (10_000, 0.9)),
    products_by_output=((1, 0.2), (100, 0.8)),
    convolutions=0.5,
    weight_gradients=0.25,
    elementwise=200.0,
    sort_passes=3,
    gap_seconds=0.5,
    link_bytes_per_second=10.0,
    node=8,
    network_bytes_per_second=2.0,
)


def kernel(kind='products', **fields):
  return estimate.Kernel(kind=kind, **fields)


def estimated(*kernels, collectives=()):
  return estimate.seconds(kernels, collectives, RATES)


@pytest.mark.parametrize(
    ('fields', 'seconds'),
    [
        # The peaks are 1000 and 2000, and products of this size reach 40 %.
        (dict(flops=800, smallest=100), 2.0),
        (dict(flops=800, smallest=100, dtype='bfloat16'), 1.0),
        (dict(flops=800, smallest=100, dtype='float16'), 2.0),
        (dict(flops=800, smallest=100, by_output=True), 1.0),
        # Half-way between the logarithms of two sizes: the geometric mean.
        (dict(flops=800, smallest=10), 800 / 200),
        (dict(flops=800, smallest=1000), 800 / 600),
        # Beyond the ends.
        (dict(flops=900, smallest=20_000), 1.0),
        (dict(flops=800, smallest=200, by_output=True), 1.0),
        # Limited by memory.
        (dict(flops=800, smallest=100, bytes=300), 3.0),
        (dict(flops=800, smallest=100, bytes=300, times=4), 12.0),
        (dict(kind='convolutions', flops=800), 1.6),
        (dict(kind='weight gradients', flops=800), 3.2),
        (dict(kind='norms', flops=800), 4.0),
        (dict(kind='norms', flops=800, bytes=500), 5.0),
        (dict(kind='sorts', flops=0, bytes=100), 3.0),
    ],
)
def test_a_kernel_takes_the_longer_of_its_operations_and_its_bytes(
    fields, seconds
):
  one = kernel(**fields)
  found = estimated(one)
  assert found.pop('gaps') == 0.5 * one.times
  assert found == {one.kind: pytest.approx(seconds)}


@pytest.mark.parametrize(
    ('kind', 'devices', 'seconds'),
    [
        ('all-gather', 4, 10 * 3 / 4),
        ('reduce-scatter', 4, 10 * 3 / 4),
        ('all-to-all', 4, 10 * 3 / 4),
        ('all-reduce', 4, 2 * 10 * 3 / 4),
        ('collective-permute', 4, 10.0),
        ('all-gather', 1, 0.0),
        ('all-gather', 8, 10 * 7 / 8),
        # More devices than the links join: the network has a fifth of the rate.
        ('all-gather', 16, 50 * 15 / 16),
    ],
)
def test_a_collective_takes_its_bytes_around_a_ring(kind, devices, seconds):
  one = estimate.Collective(kind=kind, bytes=100, devices=devices, times=2)
  found = estimated(collectives=[one])
  assert found == {kind: pytest.approx(2 * seconds), 'gaps': 1.0}


def test_times_add_up_by_kind():
  found = estimated(
      kernel(flops=800, smallest=100, times=3),
      kernel('norms', bytes=100),
      kernel(flops=400, smallest=100),
      kernel('norms', bytes=300, times=2),
  )
  assert found == pytest.approx({'products': 7.0, 'norms': 7.0, 'gaps': 3.5})


def test_an_h200_is_charged_three_quarters_of_its_peak():
  rates = estimate.rates_of(chips.named('H200'))
  # A square product of 8192, and one of 8 rows, which reads its weights.
  large = kernel(flops=2 * 8192**3, bytes=6 * 8192**2, dtype='bfloat16')
  rows = kernel(
      flops=2 * 8 * 1536 * 6144,
      bytes=2 * 1536 * 6144,
      dtype='bfloat16',
      smallest=8,
  )
  assert estimate.seconds([large], [], rates) == pytest.approx(
      {'products': 2 * 8192**3 / (0.75 * 790e12), 'gaps': 1.5e-6}
  )
  assert estimate.seconds([rows], [], rates) == pytest.approx(
      {'products': 2 * 1536 * 6144 / 4.3e12, 'gaps': 1.5e-6}
  )
  # Elementwise operations cost nothing beside their bytes.
  norm = kernel('norms', flops=1e15, bytes=4.3e12)
  assert estimate.seconds([norm], [], rates)['norms'] == pytest.approx(1.0)
  image = kernel('convolutions', flops=395e12, bytes=1)
  assert estimate.seconds([image], [], rates)['convolutions'] == 2.0
  # Nine devices are on two machines.
  for devices, rate in ((8, 450e9), (9, 50e9)):
    gather = estimate.Collective(kind='all-gather', bytes=9e9, devices=devices)
    found = estimate.seconds([], [gather], rates)['all-gather']
    assert found == pytest.approx(9e9 * (devices - 1) / devices / rate)


def test_a_tpu_slice_has_one_network():
  rates = estimate.rates_of(chips.named('TPU v5p'))
  gather = estimate.Collective(kind='all-gather', bytes=180e9, devices=256)
  found = estimate.seconds([], [gather], rates)['all-gather']
  assert found == pytest.approx(255 / 256)
