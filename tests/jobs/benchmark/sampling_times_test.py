"""Timing of drawing: times add up, and failures are reported."""

import dataclasses
import functools
import json
import math

import jax
import pytest

from rq_jax import sampling
from rq_jax.jobs import stand_in
from rq_jax.jobs import timing
from rq_jax.jobs.benchmark import measured
from rq_jax.jobs.benchmark import roofline
from rq_jax.jobs.benchmark import sampling_times
from rq_jax.jobs.benchmark import text_tables
from rq_jax.jobs.plan import chips
from tests import tiny

pytestmark = pytest.mark.slow

CHIP = chips.Chip(name='cpu', bytes_per_second=1e9, flops16=1e9, flops32=2e9)


@functools.cache
def sampler():
  return stand_in.sampler(
      tiny.stage2_config().model, tiny.stage1_config().model, 'float32'
  )


def options(**changes):
  return measured.Options(**{'batch_sizes': (2,), **changes})


@functools.cache
def records():
  chosen = options(batch_sizes=(2, 5), repeats=2)
  return tuple(sampling_times.sampling('tiny', sampler(), chosen, CHIP))


def close(a, b):
  return a == pytest.approx(b, rel=1e-12)


def test_int8_weights_are_compared_with_int8_products(monkeypatch):
  timed = timing.Timing(
      first=1.0, compiler=1.0, seconds=(2.0,), cpu_seconds=(1.0,)
  )
  monkeypatch.setattr(
      sampling_times,
      'draw',
      lambda sampler, batch, options: measured.TimedBatch(
          batch=batch, parts={'autoregression': timed}, memory={}
      ),
  )
  multiplied = []

  def products(prior, weights, rows, repeats):
    multiplied.append(weights['classifier'].values.dtype)
    return timed

  monkeypatch.setattr(sampling_times, 'time_products', products)
  slow = dataclasses.replace(CHIP, bytes_per_second=1e6)
  for kind, dtype, size in (('float', 'float32', 4), ('int8', 'int8', 1)):
    drawing = dataclasses.replace(sampler(), weights=kind)
    (record,) = sampling_times.sampling('tiny', drawing, options(), slow)
    assert multiplied.pop() == dtype
    # Width 16 and 12 codewords, for each of the 8 codes of a map.
    least = record['roofline']['ideal_seconds']['classifier']
    assert close(least, size * 8 * 16 * 12 / 1e6)
    share = record['roofline']['share']['classifier']
    assert close(share, least / 2)


def test_times_of_a_batch_add_up():
  assert [record['batch_size'] for record in records()] == [2, 5]
  for record in records():
    batch, each = record['batch_size'], record['ms_per_image']
    assert set(each) == {'total', 'autoregression', 'decoding'}
    assert close(each['total'], each['autoregression'] + each['decoding'])
    for part in ('autoregression', 'decoding'):
      times = record['seconds'][part]
      assert 0 < times['min'] <= times['median'] <= times['max']
      assert close(each[part], 1e3 * times['median'] / batch)
      assert record['cpu_seconds'][part] > 0
      # The value depends on the machine, and on programs in the cache; a test
      # below checks that it is the right number.
      assert record['compile_seconds'][part]['first_call'] >= 0


def test_shares_are_least_times_over_times():
  for record in records():
    found, batch = record['roofline'], record['batch_size']
    prior, tokenizer = sampler().prior, sampler().tokenizer.model
    work = roofline.autoregression(prior, batch)
    decoding = roofline.decoding(tokenizer, batch)
    least = roofline.ideal_seconds(work | decoding, CHIP, 'float32')
    assert found['ideal_seconds'] == least
    assert found['flops'] == roofline.operations(work | decoding)
    seconds = {p: t['median'] for p, t in record['seconds'].items()}
    for term in work:
      share = least[term] / seconds['autoregression']
      assert close(found['share'][term], share)
    total = math.fsum(least[term] for term in work)
    share = total / seconds['autoregression']
    assert close(found['share']['autoregression'], share)
    share = least['decoder'] / seconds['decoding']
    assert close(found['share']['decoding'], share)
    assert found['flops_per_second'] == 2e9


def test_the_products_alone_are_told_beside_the_autoregression():
  for record in records():
    bare = record['bare_products']
    whole = record['seconds']['autoregression']['median']
    assert close(bare['ratio'], whole / bare['seconds']['median'])
    whole = record['cpu_seconds']['autoregression']
    assert close(bare['cpu_ratio'], whole / bare['cpu_seconds'])


def test_a_known_chip_counts_instead_of_what_was_measured(monkeypatch):
  monkeypatch.setattr(chips, 'find', lambda kind: chips.named('H200'))
  timed = timing.Timing(
      first=9.0, compiler=7.0, seconds=(1.0, 2.0, 6.0), cpu_seconds=(3.0,) * 3
  )
  drawn = measured.TimedBatch(
      batch=4, parts={'autoregression': timed}, memory={'bytes': 1, 'of': 'x'}
  )
  record = measured.of_sampling(
      'tiny',
      sampler(),
      options(sampling=sampling.Sampling(guidance=2.0)),
      drawn,
      timed,
      CHIP,
  )
  assert record['roofline']['chip'] == 'H200'
  assert record['roofline']['bytes_per_second'] == 4.3e12
  # Counted twice because of guidance, and without the skipped decoder.
  guided = roofline.autoregression(sampler().prior, 4, guided=True)
  assert record['roofline']['flops'] == roofline.operations(guided)
  assert record['calibration'] == {
      'product_flops_per_second': 2e9,
      'copy_bytes_per_second': 1e9,
  }
  assert record['ms_per_image'] == {'total': 500, 'autoregression': 500}
  assert record['compile_seconds'] == {
      'autoregression': {'first_call': 7.0, 'compiler': 7.0}
  }


def test_decoding_is_left_out_on_request():
  drawn = sampling_times.draw(sampler(), 2, options(decode=False, repeats=1))
  assert list(drawn.parts) == ['autoregression']


def test_all_batches_are_reported_before_one_that_has_no_room(
    monkeypatch, capsys
):
  def draw(sampler, batch, options):
    if batch == 3:
      raise ValueError('Batch 3 takes 9 GiB.')
    if batch == 4:
      raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: 9 GiB')
    return measured.TimedBatch(
        batch=batch, parts={'autoregression': timed}, memory={}
    )

  timed = timing.Timing(
      first=1.0, compiler=1.0, seconds=(1.0,), cpu_seconds=(1.0,)
  )
  monkeypatch.setattr(sampling_times, 'draw', draw)
  chosen = options(batch_sizes=(3, 4, 5), repeats=1)
  record, *errors = sampling_times.sampling('tiny', sampler(), chosen, CHIP)
  assert record['batch_size'] == 5
  assert [str(error) for error in errors] == [
      'tiny, batch 3: Batch 3 takes 9 GiB.',
      'tiny, batch 4: There is not enough memory. Give a smaller --batch_size.',
  ]
  # The draws of three batches and the products of one.
  assert '4/6' in capsys.readouterr().err


def test_a_run_draws_with_the_kernels_and_weights_of_its_options(monkeypatch):
  used = []

  def timed(name, sampler, options, calibration):
    used.append((name, sampler.kernels, sampler.weights))
    return iter(())

  monkeypatch.setattr(sampling_times, 'sampling', timed)
  monkeypatch.setattr(timing, 'calibrate', lambda dtype: CHIP)
  for changes in (dict(kernels='interpret'), dict(weights='int8')):
    chosen = options(**changes)
    sampling_times.run({'tiny': sampler}, chosen, dtype='float32')
  assert used == [('tiny', 'interpret', 'float'), ('tiny', 'xla', 'int8')]


def test_a_run_prints_and_appends_the_same_lines(monkeypatch, tmp_path, capsys):
  error = ValueError('tiny, batch 9: Too large.')
  found = [*records()[:1], error, *records()[1:]]
  monkeypatch.setattr(sampling_times, 'sampling', lambda *_: iter(found))
  monkeypatch.setattr(timing, 'calibrate', lambda dtype: CHIP)
  file = tmp_path / 'lines.jsonl'
  file.write_text('{}\n')
  with pytest.raises(ValueError, match='batch 9: Too large'):
    sampling_times.run(
        {'tiny': sampler},
        options(),
        dtype='float32',
        jsonl=str(file),
        summary=lambda records: f'{len(records)} records',
    )
  lines = file.read_text().splitlines()
  assert [json.loads(line) for line in lines] == [{}, *records()]
  assert capsys.readouterr().out == '\n'.join([*lines[1:], '', '2 records', ''])


def test_tables_show_times_shares_and_the_products():
  text = text_tables.tables(records())
  assert all(len(line) <= 80 for line in text.splitlines())
  for record in records():
    assert f'{record["ms_per_image"]["decoding"]:.3f}' in text
    assert f'{record["roofline"]["share"]["keys and values"]:.1%}' in text
    assert f'{record["bare_products"]["cpu_ratio"]:.2f}' in text
  assert '0.002 TFLOP/s, 1 GB/s' in text
  assert jax.__version__ in text
