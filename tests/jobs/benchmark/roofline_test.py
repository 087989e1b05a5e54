"""Work and least times against hand counts and published sizes."""

import math

import jax
import pytest

from rq_jax.jobs.benchmark import roofline
from rq_jax.jobs.plan import chips
from rq_jax.models import build
from rq_jax.models import rqtransformer
from rq_jax.models import rqvae

LARGE = rqtransformer.RQTransformer(
    spatial_layers=42, depth_layers=6, num_classes=1000, dtype='bfloat16'
)
SMALL = rqtransformer.RQTransformer(
    code_shape=(2, 3, 4),
    codebook_size=10,
    width=8,
    heads=2,
    spatial_layers=3,
    depth_layers=2,
)
# A chip with round numbers.
CHIP = chips.Chip(name='x', bytes_per_second=10.0, flops16=100.0, flops32=40.0)


def test_the_model_of_1_4_billion_takes_what_its_kernels_take():
  params = build.rqtransformer_variables(LARGE)['params']

  def kernels(stack):
    leaves = jax.tree.leaves_with_path(params[stack])
    found = [x for path, x in leaves if 'kernel' in jax.tree_util.keystr(path)]
    return sum(math.prod(kernel.shape) for kernel in found)

  found = roofline.operations(roofline.autoregression(LARGE, 3))
  assert found == {
      'spatial': 3 * 2 * 64 * kernels('spatial_stack'),
      'depth': 3 * 2 * 256 * kernels('depth_stack'),
      'classifier': 3 * 2 * 256 * kernels('classifier'),
  }
  billions = {name: round(x / 3e9, 1) for name, x in found.items()}
  assert billions == {'spatial': 152.2, 'depth': 87.0, 'classifier': 12.9}


def test_decoding_takes_a_quarter_of_a_teraflop_and_reads_its_weights():
  (work,) = roofline.decoding(rqvae.RQVAE(dtype='bfloat16'), 2)['decoder']
  assert work.flops / 2e9 == pytest.approx(249.6, abs=0.05)
  # 59.040 million parameters in bfloat16.
  assert work.bytes == pytest.approx(2 * 59.040e6, rel=1e-5)


# Milliseconds per batch, counted by hand independently of the code.
@pytest.mark.parametrize(
    ('chip', 'batch', 'expected'),
    [
        ('H200', 1, (35.40, 20.23, 3.00, 0.134, 0.0664, 0.0117)),
        ('H200', 64, (35.40, 20.23, 3.00, 8.59, 4.25, 0.75)),
        ('H200', 500, (96.33, 55.05, 8.16, 67.08, 33.19, 5.85)),
        ('A100', 64, (74.65, 42.65, 6.32, 18.11, 8.96, 1.58)),
        ('A100', 500, (243.91, 139.38, 20.65, 141.45, 70.00, 12.34)),
    ],
)
def test_the_least_times_of_1_4_billion(chip, batch, expected):
  work = roofline.autoregression(LARGE, batch)
  found = roofline.ideal_seconds(work, chips.named(chip), LARGE.dtype)
  assert list(found) == [
      'spatial',
      'depth',
      'classifier',
      'keys and values',
      'activations',
      'draws',
  ]
  milliseconds = [1e3 * seconds for seconds in found.values()]
  assert milliseconds == pytest.approx(expected, rel=0.02)


# At batch 64, weights of one byte take half of the times above. At batch 500,
# computing takes longer than reading.
@pytest.mark.parametrize(
    ('batch', 'expected'),
    [(64, (17.70, 10.12, 1.50)), (500, (96.33, 55.05, 8.16))],
)
def test_int8_weights_halve_only_what_their_bytes_limit(batch, expected):
  work = roofline.autoregression(LARGE, batch, weights='int8')
  found = roofline.ideal_seconds(work, chips.named('H200'), LARGE.dtype)
  products = [1e3 * found[name] for name in ('spatial', 'depth', 'classifier')]
  assert products == pytest.approx(expected, rel=0.02)


def test_in_int8_kernels_have_a_byte_a_weight_and_all_else_its_dtype():
  text = SMALL.clone(text_vocab_size=20, text_length=7)
  plain, int8 = (
      roofline.autoregression(text, 5, weights=kind)
      for kind in ('float', 'int8')
  )
  block = [8 * 24, 8 * 8, 8 * 32, 32 * 8]
  for term in ('spatial', 'depth', 'prefill'):
    assert [work.bytes for work in int8[term]] == block
  assert [work.bytes for work in int8['classifier']] == [8 * 10]
  assert roofline.operations(int8) == roofline.operations(plain)
  for term in ('keys and values', 'activations', 'draws'):
    assert int8[term] == plain[term]


def test_each_product_is_as_long_as_the_longer_of_computing_and_moving():
  work = roofline.Work(flops=400, bytes=30, times=2)
  assert work.seconds(CHIP, 'bfloat16') == 2 * 4
  assert work.seconds(CHIP, 'float32') == 2 * 10
  slow = roofline.Work(flops=100, bytes=30)
  assert slow.seconds(CHIP, 'bfloat16') == 3
  # One is limited by compute and one by memory: 4 + 3, not the 5 of sums.
  terms = {'both': (roofline.Work(flops=400), slow)}
  assert roofline.ideal_seconds(terms, CHIP, 'bfloat16') == {'both': 7}


def test_below_the_ridge_a_batch_takes_the_time_of_one():
  h200 = chips.named('H200')
  ridge = h200.flops16 / h200.bytes_per_second  # Rows, at 2 bytes per weight.

  def spatial(batch):
    work = roofline.autoregression(LARGE, batch)
    return roofline.ideal_seconds(work, h200, 'bfloat16')['spatial']

  assert 183 < ridge < 184
  assert spatial(1) == spatial(183)
  assert spatial(368) == pytest.approx(spatial(184) * 2)


def test_keys_and_values_of_all_up_to_a_position_are_read():
  found = roofline.autoregression(SMALL, 5)['keys and values']
  # Positions read 1, 2, ..., 6 and write one; so do the 4 codes of a stack.
  spatial = 3 * (21 + 6)
  depth = 2 * 6 * (10 + 4)
  assert [work.bytes for work in found] == [5 * 2 * (spatial + depth) * 8 * 4]


def test_a_draw_writes_reads_and_searches_its_logits():
  def draws(**options):
    (work,) = roofline.autoregression(SMALL, 5, **options)['draws']
    return work.bytes

  assert draws() == 5 * 6 * 4 * 10 * (4 + 4 + 4)
  # The draw reads only one row of both.
  assert draws(guided=True) == 5 * 6 * 4 * 10 * (2 * (4 + 4) + 4)


def test_guidance_predicts_everything_twice_but_reads_weights_once():
  plain = roofline.autoregression(SMALL, 5)
  guided = roofline.autoregression(SMALL, 5, guided=True)
  for term in ('spatial', 'depth', 'classifier'):
    for one, two in zip(plain[term], guided[term], strict=True):
      assert two.flops == 2 * one.flops
      assert (two.bytes, two.times) == (one.bytes, one.times)
  for term in ('keys and values', 'activations'):
    assert guided[term][0].bytes == 2 * plain[term][0].bytes


def test_the_words_of_a_text_but_the_last_are_read_at_once():
  text = SMALL.clone(text_vocab_size=20, text_length=7)
  works = roofline.autoregression(text, 5)
  flops = sum(work.flops * work.times for work in works['prefill'])
  assert flops == 2 * (5 * 6) * 3 * 12 * 8**2
  weights = sum(work.bytes * work.times for work in works['prefill'])
  assert weights == 3 * 12 * 8**2 * 4
  # Each position also reads the six words before it.
  more = works['keys and values'][0].bytes
  more -= roofline.autoregression(SMALL, 5)['keys and values'][0].bytes
  assert more == 5 * 2 * 3 * (6 * 6) * 8 * 4
  assert 'prefill' not in roofline.autoregression(SMALL, 5)


def test_stacks_take_a_third_of_the_layers_that_a_longer_map_takes():
  longer = LARGE.clone(
      code_shape=(16, 16, 1), spatial_layers=48, depth_layers=0
  )
  assert roofline.layer_passes(LARGE) == 64 * 42 + 256 * 6 == 4224
  assert roofline.layer_passes(longer) == 256 * 48 == 12288
  assert not sum(w.times for w in roofline.autoregression(longer, 1)['depth'])


@pytest.mark.parametrize(
    ('kind', 'name'),
    [
        ('NVIDIA H200', 'H200'),
        ('NVIDIA H100 80GB HBM3', 'H100'),
        ('NVIDIA A100-SXM4-80GB', 'A100'),
        ('TPU v4', 'TPU v4'),
        ('TPU v5 lite', 'TPU v5e'),
        ('TPU v5', 'TPU v5p'),
        ('TPU v5p', 'TPU v5p'),
        ('TPU v6 lite', 'TPU v6e'),
    ],
)
def test_a_chip_is_found_by_what_jax_calls_it(kind, name):
  assert chips.find(kind) == chips.named(name)


@pytest.mark.parametrize('kind', ['cpu', 'NVIDIA H100 PCIe', 'TPU v4 lite'])
def test_of_other_devices_nothing_is_known(kind):
  assert chips.find(kind) is None
