"""Flags of the benchmarks besides `benchmark sampling`."""

import pytest

from rq_jax import __main__ as main_lib
from rq_jax import sampling
from rq_jax.jobs.benchmark import constants
from rq_jax.jobs.benchmark import filters
from rq_jax.jobs.benchmark import loading
from rq_jax.jobs.benchmark import precision
from rq_jax.jobs.benchmark import training_steps
from rq_jax.jobs.benchmark.device import job
from tests.jobs import generators


def main(*argv):
  return main_lib.main(['benchmark', *argv])


@pytest.fixture
def asked(monkeypatch):
  """Arguments of calls of the measurements, which do not run."""
  calls = []
  for module, name in (
      (filters, 'run'),
      (constants, 'run'),
      (precision, 'compare'),
      (loading, 'run'),
      (training_steps, 'run'),
  ):
    monkeypatch.setattr(
        module, name, lambda *args, **kwargs: calls.append((args, kwargs))
    )
    if hasattr(module, 'table'):
      monkeypatch.setattr(module, 'table', lambda *args: f'table {args[1:]}')
  return calls


def test_filters_are_timed_for_each_batch(asked, capsys):
  assert main('filters') == 0
  assert main('filters', '--batch_size=2,8', '--repeats=5') == 0
  assert asked == [((16384, b, n), {}) for b, n in ((4, 3), (2, 5), (8, 5))]
  lines = capsys.readouterr().out.splitlines()
  assert lines == ['table (4,)', 'table (2,)', 'table (8,)']


def test_constants_are_of_the_dtype(asked, capsys):
  assert main('constants') == 0
  assert main('constants', '--dtype=bfloat16', '--repeats=2') == 0
  assert asked == [((None, 3), {}), (('bfloat16', 2), {})]
  assert capsys.readouterr().out.splitlines() == ['table ()'] * 2


def test_precision_is_of_a_checkpoint_in_both_dtypes(asked, tmp_path, capsys):
  generators.export(tmp_path)
  assert main('precision', f'--checkpoint={tmp_path}', '--num_images=5') == 0
  (((restore,), options),) = asked
  assert options == {'num_images': 5}
  for dtype in ('float32', 'bfloat16'):
    sampler = restore(dtype)
    assert isinstance(sampler, sampling.Sampler)
    assert sampler.prior.dtype == dtype
  assert capsys.readouterr().out == 'table ()\n'


def test_data_is_that_of_the_experiment(asked):
  config = '--config=configs/digits/rqvae.py'
  assert main('data', config, '--config.data.crop=random') == 0
  options = ['--workers=0,2', '--num_images=9', '--repeats=2', '--jsonl=x']
  assert main('data', config, *options) == 0
  ((first,), one), ((second,), two) = asked
  assert (first.data.crop, second.data.crop) == ('random', 'center')
  assert one == {'workers': [0], 'num_images': 256, 'repeats': 3, 'jsonl': None}
  assert two == {'workers': [0, 2], 'num_images': 9, 'repeats': 2, 'jsonl': 'x'}


def test_training_is_timed_for_each_batch_in_the_dtype(asked):
  config = 'configs/imagenet256/rqvae.py'
  assert main('training', f'--config={config}') == 0
  options = ['--batch_size=4,8', '--dtype=bfloat16', '--jsonl=x']
  change = '--config.model.channels=64'
  assert main('training', f'--config={config}', change, *options) == 0
  ((path, (first,)), one), ((_, (small, large)), two) = asked
  assert path == config
  assert (first.data.batch_size, first.model.dtype) == (128, 'float32')
  assert (small.data.batch_size, large.data.batch_size) == (4, 8)
  assert small.model.dtype == large.model.dtype == 'bfloat16'
  assert small.model.channels == 64
  assert one == {'repeats': 3, 'jsonl': None}
  assert two == {'repeats': 3, 'jsonl': 'x'}


def test_a_device_check_gets_its_file_and_time(monkeypatch):
  calls = []
  monkeypatch.setattr(
      job, 'run', lambda path, **options: calls.append((path, options))
  )
  assert main('device', '--out=x.json') == 0
  assert main('device', '--out=y.json', '--small', '--minutes=3') == 0
  assert calls == [
      ('x.json', {'small': False, 'minutes': 11.0}),
      ('y.json', {'small': True, 'minutes': 3.0}),
  ]


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        (['device'], '--out must be given'),
        (['device', '--out=x', '--dtype=float32'], '--dtype=float32 has no'),
        (['filters', '--out=x'], '--out=x has no meaning here'),
        (['training'], '--config must be given'),
        (
            ['training', '--config=configs/digits/rqvae.py', '--batch_size=0'],
            '--batch_size=0 must be whole numbers of at least 1',
        ),
        (['precision'], '--checkpoint must be given'),
        (['precision', '--num_images=0'], '--num_images=0'),
        (['filters', '--batch_size=0'], '--batch_size=0 must be whole'),
        (['filters', '--top_p=0.5'], '--top_p=[0.5] has no meaning here'),
        (['precision', '--repeats=2'], '--repeats=2 has no meaning here'),
        (['data'], '--config must be given'),
        (
            ['data', '--config=configs/digits/rqvae.py', '--workers=x'],
            '--workers=x must be whole numbers of at least 0',
        ),
        (
            ['data', '--config=configs/digits/rqvae.py', '--top_k=2'],
            '--top_k=[2] has no meaning here',
        ),
        (['filters', '--workers=2'], "--workers=['2'] has no meaning"),
        (['constants', '--batch_size=4'], "batch_size=['4'] has no"),
        (['constants', '--dtype=float16'], 'float32|bfloat16'),
    ],
)
def test_what_cannot_be_measured_is_refused(argv, words, asked, capsys):
  assert main(*argv) == 1
  error = capsys.readouterr().err
  assert words in error and error.count('\n') == 1
  assert not asked
