"""The loading of data is timed beside a loop over the same images."""

import json
import time

import numpy as np
import pytest

from rq_jax import config as config_lib
from rq_jax.cli import config_flag
from rq_jax.data import loader
from rq_jax.data import subset
from rq_jax.jobs.benchmark import loading
from rq_jax.jobs.benchmark import loading_table
from rq_jax.jobs.plan import chips
from rq_jax.jobs.plan import estimate
from tests.data import tars


def experiment(path, **changes):
  """The experiment of the digits, on other data."""
  fields = {'data.source': 'webdataset', 'data.path': str(path), **changes}
  given = config_flag.read('configs/digits/rqvae.py', list(fields.items()))
  return config_lib.check(given, with_data=False)


class Slow:
  """Images whose parts take known times."""

  def __len__(self):
    return 6

  def __getitem__(self, index):
    time.sleep(0.03)
    return {'image': np.zeros((4, 4, 3), np.uint8), 'label': np.int32(index)}


def _crop(example, rng):
  del rng
  time.sleep(0.01)
  return example


def test_a_run_prints_what_it_measured(tmp_path, capsys):
  tars.write_downloaded(tmp_path / 'data' / 'train.tar', range(40))
  chosen = experiment(tmp_path / 'data')
  file = tmp_path / 'lines.jsonl'
  loading.run(chosen, workers=[0, 0], num_images=16, repeats=1, jsonl=str(file))
  records = [json.loads(line) for line in file.read_text().splitlines()]
  assert len(records) == 2
  for record in records:
    assert record['images'] == 16
    assert record['images_per_batch'] == 2
    assert record['workers'] == 0
    assert record['data']['path'] == str(tmp_path / 'data')
    assert record['ratio'] == record['loader'] / record['bare_loop'] > 0
    assert list(record['seconds_per_image']) == [
        'reading',
        'decoding',
        'cropping',
    ]
  flops = estimate.make(chosen, 1).step_flops
  a100 = chips.named('A100').flops(chosen.model.dtype)
  assert records[0]['consumed']['A100'] == pytest.approx(0.4 * a100 / flops)
  text = capsys.readouterr().out
  assert text.endswith(f'{loading_table.text(records)}\n')


@pytest.fixture
def clock(monkeypatch):
  """A clock that only `sleep` moves."""
  now = [0.0]

  def sleep(seconds):
    now[0] += seconds

  monkeypatch.setattr(time, 'sleep', sleep)
  monkeypatch.setattr(time, 'perf_counter', lambda: now[0])


def test_the_parts_of_the_work_are_timed(clock):
  source, config = Slow(), experiment('none')
  found = loading.shares(source, config.data, _crop, source)
  assert found == pytest.approx(
      {'reading and decoding': 0.03, 'cropping': 0.01}
  )


def test_the_bare_loop_uses_its_threads():
  one, six = (loading.bare_rate(Slow(), _crop, threads) for threads in (1, 6))
  assert one < 25.1  # 40 ms per image.
  assert one * 2 < six


def test_the_rate_of_the_loader_is_that_of_its_batches(clock, monkeypatch):
  taken = []

  class Batches:
    """100 batches per second."""

    def __next__(self):
      time.sleep(0.01)
      taken.append(1)

    def close(self):
      taken.append('closed')

  asked = {}

  def train_batches(examples, **options):
    asked.update(options)
    return Batches()

  monkeypatch.setattr(loader, 'train_batches', train_batches)
  rate = loading.loader_rate(
      subset.Subset(Slow(), range(5)), transform=_crop, size=2, workers=3
  )
  assert taken == [1] * (8 + 3) + ['closed']
  assert rate == pytest.approx(200)
  assert (asked['workers'], asked['batch_size']) == (3, 2)


def test_a_source_without_images_is_refused(tmp_path):
  prior = config_lib.check(
      config_flag.read('configs/digits/rqtransformer.py', []), with_data=False
  )
  with pytest.raises(ValueError, match="config.data.source='features' has no"):
    loading.run(prior, workers=[0], num_images=9, repeats=1)


def test_the_table_shows_rates_shares_and_the_models_rate():
  common = {
      'data': {'source': 'webdataset'},
      'images': 64,
      'images_per_batch': 8,
      'threads': 2,
      'utilisation': 0.4,
      'consumed': {'H100': 400.0},
      'seconds_per_image': {'reading': 0.001, 'cropping': 0.003},
  }
  records = [
      {**common, 'workers': w, 'loader': rate, 'bare_loop': 200.0, 'ratio': r}
      for w, rate, r in ((0, 180.0, 0.9), (2, 100.0, 0.5))
  ]
  assert loading_table.text(records).splitlines() == [
      'Images per second from disk to batch: 64 images of webdataset, batches'
      ' of 8',
      '  workers  loader  bare loop (2 threads)',
      '        0   180.0                  200.0  0.90 of the loop',
      '        2   100.0                  200.0  0.50 of the loop',
      '',
      'One thread needs 4.00 ms per image:',
      '  reading   1.00 ms  25%',
      '  cropping  3.00 ms  75%',
      '',
      'Images per second that one chip trains on, estimated for 40% of its'
      ' peak,',
      'and the share of them that this machine loads at best:',
      '  H100  400.0  45%',
  ]
