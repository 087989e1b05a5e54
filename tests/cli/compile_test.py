"""The command `compile`, and `train --dry_run --target`."""

import json

import jax
import pytest

from rq_jax import __main__ as main_lib
from rq_jax.cli import compile as compile_lib
from rq_jax.jobs.compile import cpu_rates
from rq_jax.jobs.compile import estimate
from rq_jax.jobs.compile import job
from rq_jax.sampling.kernels import choice

PRIOR = 'configs/digits/rqtransformer.py'
RQVAE = 'configs/digits/rqvae.py'
SMALL = [
    '--config.model.width=16',
    '--config.model.heads=2',
    '--config.model.spatial_layers=1',
    '--config.model.depth_layers=1',
]


@pytest.fixture(autouse=True)
def _rates(monkeypatch):
  """Fixed rates, because measuring takes seconds."""
  rates = estimate.Rates(peak={'float32': 1e9}, bytes_per_second=1e9)
  monkeypatch.setattr(cpu_rates, 'measure', lambda repeats: rates)
  # The command sets it for its own process.
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')


def refused(capsys, *argv):
  assert main_lib.main(list(argv)) == 1
  return capsys.readouterr().err


def test_the_flags_offer_what_the_job_accepts():
  values = compile_lib._define_flags()
  for flag, accepted in (
      ('what', job.WHAT),
      ('kernels', choice.KINDS),
      ('weights', choice.WEIGHTS),
  ):
    assert tuple(values[flag].parser.enum_values) == accepted


def test_a_sampler_is_compiled_and_described(tmp_path, capsys):
  file = tmp_path / 'found.json'
  argv = ['--what=sample', '--target=cpu', '--batch_size=3', f'--json={file}']
  assert main_lib.main(['compile', f'--config={PRIOR}', *SMALL, *argv]) == 0
  assert 'Images per execution: 3. Compute dtype: float32.' in (
      capsys.readouterr().out
  )
  record = json.loads(file.read_text())
  assert record['images'] == 3
  assert [loop['passes'] for loop in record['loops']] == [16]
  assert record['estimate']['total'] > 0
  # Later programs of this process may come from the cache again.
  assert jax.config.jax_enable_compilation_cache


@pytest.mark.slow
def test_a_dry_run_for_a_target_also_compiles_the_step(capsys):
  argv = ['train', f'--config={PRIOR}', *SMALL, '--dry_run', '--target=cpu']
  assert main_lib.main(argv) == 0
  output = capsys.readouterr().out
  plan, _, compiled = output.partition('Compiling for cpu')
  assert 'Memory of each device, MiB' in plan
  assert 'Estimate (not measured)' not in plan
  assert 'Estimate (not measured)' in compiled


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        (['--what=sample', f'--config={RQVAE}'], 'Give --what=train or encode'),
        (['--what=encode', f'--config={PRIOR}'], 'Give --what=train or sample'),
        (
            ['--what=train', f'--config={RQVAE}', '--batch_size=3'],
            '--batch_size=3 has no meaning here',
        ),
        (
            ['--what=decode', f'--config={RQVAE}', '--top_p=0.5'],
            '--top_p=[0.5] has no meaning here',
        ),
        (['--what=train'], '--config must be given'),
    ],
)
def test_what_does_not_go_together_is_refused(argv, words, capsys):
  assert words in refused(capsys, 'compile', '--target=cpu', *argv)


def test_an_unknown_target_is_refused(capsys):
  argv = ['compile', f'--config={RQVAE}', '--what=train', '--target=z80']
  assert '--target=z80 must be a TPU slice' in refused(capsys, *argv)


def test_a_target_of_training_is_only_planned(capsys):
  argv = ['train', f'--config={RQVAE}', '--workdir=x', '--target=h200']
  assert '--target=h200 needs --dry_run' in refused(capsys, *argv)
  error = refused(capsys, *argv, '--dry_run', '--devices=2')
  assert '--devices=2 has no meaning here' in error
