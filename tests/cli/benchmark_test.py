"""Flags of `benchmark sampling`: their effects and refusals."""

import json

import pytest

from rq_jax import __main__ as main_lib
from rq_jax.jobs import timing
from rq_jax.jobs.benchmark import figure4
from rq_jax.jobs.benchmark import sampling_times
from rq_jax.jobs.plan import chips

PRIOR = '--config=configs/digits/rqtransformer.py'
CHIP = chips.Chip(name='cpu', bytes_per_second=1e9, flops16=1e9, flops32=1e9)


def main(*argv):
  return main_lib.main(['benchmark', *argv])


@pytest.fixture
def asked(monkeypatch):
  """Arguments of calls of `sampling_times.run`, which does not run."""
  calls = {}

  def run(models, options, **others):
    calls.update(models=models, options=options, **others)

  monkeypatch.setattr(sampling_times, 'run', run)
  return calls


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        ([PRIOR], 'No benchmark is given. Give one of sampling, training'),
        (
            ['drawing', PRIOR],
            'There is no benchmark drawing. Give one of sampling',
        ),
        (['sampling'], 'Exactly one of --config, --checkpoint and --figure4'),
        (['sampling', PRIOR, '--figure4'], 'Exactly one of'),
        (['sampling', PRIOR, '--batch_size=1,0'], '--batch_size=1,0 must be'),
        (['sampling', PRIOR, '--batch_size=x'], '--batch_size=x must be'),
        (['sampling', PRIOR, '--top_p=0'], 'top_p=0.0 must be in (0, 1]'),
        (['sampling', PRIOR, '--repeats=0'], 'repeats'),
        (['sampling', PRIOR, '--kernels=pallas'], 'needs an NVIDIA GPU'),
        (
            ['sampling', PRIOR, '--kernels=pallas', '--weights=int8'],
            'weights=int8 needs kernels=xla, but kernels=pallas.',
        ),
        (['sampling', PRIOR, '--num_images=9'], '--num_images=9 has no'),
        (['sampling', PRIOR, '--size=small'], '--size=small has no meaning'),
        (
            ['sampling', '--figure4', '--tokenizer_config=x'],
            '--tokenizer_config=x has no meaning',
        ),
        (
            ['sampling', '--config=configs/digits/rqvae.py'],
            'rqvae.py describes an RQ-VAE. Give',
        ),
        (['sampling', PRIOR, '--config.model.heads=5'], 'heads=5'),
        (['sampling', PRIOR, '--top_k=1', '--top_k=2'], 'has 2 numbers'),
        (['sampling', '--figure4', '--guidance=2'], 'a null class'),
        (
            ['sampling', PRIOR, '--tokenizer_config=configs/ffhq256/rqvae.py'],
            "'codebook_size': 2048",
        ),
        (
            ['sampling', PRIOR, '--tokenizer_config=no.py'],
            'Error: --tokenizer_config=no.py cannot be read: there is no file',
        ),
        (['filters', '--config.model.width=3'], 'width has no meaning here'),
        (
            ['sampling', '--figure4', '--config.model.width=3'],
            'width has no meaning here',
        ),
        (
            ['sampling', PRIOR, '--config.model.code_shape=(4,4,3)'],
            '(4, 4, 3) fits no known RQ-VAE. Give the file of one as'
            ' --tokenizer_config',
        ),
        (['sampling', '--config=configs/no.py'], 'there is no file'),
    ],
)
def test_what_cannot_be_timed_is_refused(argv, words, asked, capsys):
  assert main(*argv) == 1
  error = capsys.readouterr().err
  assert words in error
  assert error.count('\n') == 1
  assert not asked


def test_defaults_are_those_of_a_cpu(asked):
  assert main('sampling', PRIOR) == 0
  assert list(asked['models']) == ['configs/digits/rqtransformer.py']
  assert asked['dtype'] == 'float32'
  assert asked['jsonl'] is None
  options = asked['options']
  assert list(options.batch_sizes) == [1, 8, 64]
  assert options.repeats == 3
  assert options.decode
  assert options.sampling == type(options.sampling)()


@pytest.mark.slow
def test_flags_reach_what_is_timed(asked):
  flags = ['--batch_size=2,3', '--top_k=5']
  flags += [f'--top_p={p}' for p in (0.5, 0.6, 0.7, 0.8)]
  flags += [
      '--guidance=3',
      '--temperature=2',
      '--dtype=bfloat16',
      '--repeats=7',
  ]
  flags += ['--kernels=interpret', '--skip_decoding', '--jsonl=x.jsonl']
  flags += ['--config.model.width=64']
  assert main('sampling', PRIOR, *flags) == 0
  options = asked['options']
  assert list(options.batch_sizes) == [2, 3]
  assert options.repeats == 7 and not options.decode
  assert options.kernels == 'interpret'
  drawing = options.sampling
  assert (drawing.temperature, drawing.top_k) == (2, 5)
  assert drawing.guidance == 3
  assert drawing.top_p == (0.5, 0.6, 0.7, 0.8)
  assert (asked['dtype'], asked['jsonl']) == ('bfloat16', 'x.jsonl')
  (make,) = asked['models'].values()
  sampler = make()
  assert (sampler.prior.width, sampler.prior.dtype) == (64, 'bfloat16')
  assert sampler.tokenizer.model.image_size == 32


def test_figure_4_is_of_both_shapes_of_a_size(asked):
  assert main('sampling', '--figure4', '--size=medium') == 0
  names = ['medium-f32-d4-k16384', 'medium-f16-d1-k16384']
  assert list(asked['models']) == names
  assert list(asked['options'].batch_sizes) == [100, 200]
  assert asked['summary'] is figure4.tables
  main('sampling', '--figure4')
  assert list(asked['models'])[2] == 'vqgan_huge-f16-d1-k16384'


@pytest.mark.slow
def test_a_line_of_json_for_each_batch_and_tables(
    monkeypatch, tmp_path, capsys
):
  monkeypatch.setattr(timing, 'calibrate', lambda dtype: CHIP)
  file = tmp_path / 'lines.jsonl'
  flags = ['--batch_size=1,2', '--repeats=1', f'--jsonl={file}']
  flags += ['--config.model.spatial_layers=1', '--config.model.depth_layers=1']
  assert main('sampling', PRIOR, *flags) == 0
  written = [json.loads(line) for line in file.read_text().splitlines()]
  printed = capsys.readouterr().out.splitlines()
  assert [json.loads(line) for line in printed[:2]] == written
  assert [record['batch_size'] for record in written] == [1, 2]
  assert written[0]['layer_passes'] == 16 * (1 + 4)
  assert any('milliseconds per image' in line for line in printed[2:])
