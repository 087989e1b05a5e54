"""The commands: help, errors before anything is built, and exit codes."""

import json
import os
import subprocess
import sys
import time

import pytest

from rq_jax import __main__ as main_lib
from rq_jax.jobs import train

RQVAE = 'configs/digits/rqvae.py'
PRIOR = 'configs/digits/rqtransformer.py'


def run(*argv):
  """Runs a command in its own process; returns code, output and errors."""
  done = subprocess.run(
      [sys.executable, '-m', 'rq_jax', *argv], capture_output=True, text=True
  )
  return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize('name', main_lib.COMMANDS)
def test_help_tells_the_flags_of(name, capsys):
  assert main_lib.main([name, '--help']) == 0
  text = capsys.readouterr().out
  assert f'python -m rq_jax {name}' in text
  written = ('--out', '--workdir', '--dst', '--json')
  assert any(flag in text for flag in written)


@pytest.mark.process
@pytest.mark.parametrize('name', ['sample', 'benchmark', 'inspect'])
def test_help_does_not_wait_for_jax(name):
  code = (
      'import sys; from rq_jax.__main__ import main;'
      f' main(["{name}", "--help"]); print("jax" in sys.modules)'
  )
  done = subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True, check=True
  )
  assert done.stdout.splitlines()[-1] == 'False'


# XLA warns that the program of this command compiles slowly. Then the program
# runs out of memory.
SLOW = """
import sys
from rq_jax.cli import command

def work(_):
  import jax
  import jax.numpy as jnp

  @jax.jit
  def program():
    constant = jnp.ones((100, 100)).at[0, 0].set(2.0)
    return jax.lax.reduce_window(
        constant, 0.0, jax.lax.add, (30, 30), (1, 1), 'VALID'
    )

  print(int(program().sum()), flush=True)
  jnp.zeros((2**40,)).block_until_ready()

sys.exit(command.run(command.new_flags(), ['x'], 'doc', work))
"""


def slow(**variables):
  """Runs it with environment variables: exit code, output, errors."""
  unset = ('TF_CPP_MIN_LOG_LEVEL', 'JAX_COMPILATION_CACHE_DIR')
  env = {k: v for k, v in os.environ.items() if k not in unset}
  done = subprocess.run(
      [sys.executable, '-c', SLOW],
      env=env | variables,
      capture_output=True,
      text=True,
  )
  return done.returncode, done.stdout, done.stderr


@pytest.mark.process
def test_complaints_of_xla_about_slow_programs_are_not_shown():
  code, out, error = slow()
  assert out == f'{71**2 * 30**2 + 1}\n'
  assert 'slow_operation_alarm' not in error
  # Real errors are still shown.
  assert code == 1 and 'RESOURCE_EXHAUSTED' in error


@pytest.mark.process
def test_users_may_ask_for_what_xla_complains_of():
  assert 'slow_operation_alarm' in slow(TF_CPP_MIN_LOG_LEVEL='2')[2]


@pytest.mark.process
def test_a_fatal_error_of_xla_is_shown():
  code, _, error = slow(XLA_FLAGS='--xla_no_such_flag=1')
  assert code != 0 and 'xla_no_such_flag' in error


def test_no_command_prints_what_there_is(capsys):
  assert main_lib.main([]) == 0
  text = capsys.readouterr().out
  assert all(name in text for name in main_lib.COMMANDS)


@pytest.mark.parametrize(
    ('name', 'sentence'),
    [
        ('smple', 'There is no command smple. Did you mean sample?'),
        ('trian', 'There is no command trian. Did you mean train?'),
        ('zzz', 'There is no command zzz. See python -m rq_jax.'),
    ],
)
def test_an_unknown_command_is_refused_with_the_nearest(name, sentence, capsys):
  assert main_lib.main([name]) == 1
  assert capsys.readouterr() == ('', f'Error: {sentence}\n')


@pytest.mark.parametrize(
    ('argv', 'words'),
    [
        (
            ['--config.model.chanels=3'],
            ['chanels', 'Did you mean --config.model.channels?'],
        ),
        (
            ['--config.modle.channels=3'],
            ['modle', 'Did you mean --config.model?'],
        ),
        (['--wrokdir=x'], ['wrokdir', 'Did you mean', 'workdir']),
        (['--config.model.channels=abc'], ['config.model.channels', 'abc']),
        (['left', 'over'], ['Unexpected arguments: left over']),
        (
            ['--config.model.norm_groups=7'],
            ['norm_groups=7', 'divisors of 8', '--config.model.norm_groups'],
        ),
        (
            ['--config.model.code_shape=(3,3,4)'],
            ['code_shape=(3, 3, 4)', '4x4 feature map', 'Change'],
        ),
        (
            ['--config.optimizer.name=sgd'],
            ['optimizer.name', "'sgd'", 'adamw', 'Change'],
        ),
    ],
)
def test_train_refuses_in_one_sentence(argv, words, tmp_path, capsys):
  workdir = tmp_path / 'run'
  code = main_lib.main(
      ['train', f'--config={RQVAE}', f'--workdir={workdir}', *argv]
  )
  error = capsys.readouterr().err
  assert code == 1
  assert error.startswith('Error: ')
  assert error.count('\n') == 1
  for word in words:
    assert word in error
  assert not workdir.exists()


def test_train_names_a_config_file_that_is_missing(capsys):
  assert main_lib.main(['train', '--config=no/such.py', '--workdir=x']) == 1
  assert 'there is no file no/such.py' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('flag', 'end'),
    [
        # Errors of absl have no full stop; our own have one.
        ('--seed=x', "with base 10: 'x'"),
        ('over', 'Unexpected arguments: over'),
    ],
)
def test_errors_of_flags_end_with_where_to_read_more(flag, end, capsys):
  assert main_lib.main(['sample', flag]) == 1
  assert capsys.readouterr().err.endswith(
      f'{end}. See python -m rq_jax sample --help.\n'
  )


def test_flags_that_must_be_given_are_named(capsys):
  assert main_lib.main(['sample', '--out=x']) == 1
  assert '--checkpoint must be given' in capsys.readouterr().err


def test_a_prior_needs_its_tokenizer_and_its_features(capsys):
  assert main_lib.main(['train', f'--config={PRIOR}', '--workdir=x']) == 1
  error = capsys.readouterr().err
  assert '--config.tokenizer and --config.data.path' in error


def test_width_must_be_divisible_by_heads(capsys):
  argv = ['--config.tokenizer=x', '--config.data.path=y']
  argv += ['--config.model.heads=5']
  assert (
      main_lib.main(['train', f'--config={PRIOR}', '--workdir=x', *argv]) == 1
  )
  error = capsys.readouterr().err
  assert 'width=128' in error
  assert 'heads=5' in error


def test_dry_run_prints_the_resolved_experiment(capsys):
  code = main_lib.main(
      [
          'train',
          f'--config={RQVAE}',
          '--workdir=x',
          '--config.optimizer.peak_lr=0.5',
          '--dry_run',
      ]
  )
  assert code == 0
  resolved, _ = json.JSONDecoder().raw_decode(capsys.readouterr().out)
  assert resolved['optimizer']['peak_lr'] == 0.5
  assert resolved['model']['code_shape'] == [4, 4, 4]


def test_train_records_a_trace_and_counts_the_time_of_imports(
    monkeypatch, tmp_path, capsys
):
  calls = []
  monkeypatch.setattr(
      train, 'train', lambda *_, **more: calls.append(more) or {}
  )
  argv = ['train', f'--config={RQVAE}', f'--workdir={tmp_path}']
  assert main_lib.main([*argv, '--profile=7']) == 0
  assert main_lib.main(argv) == 0
  assert [call['profile'] for call in calls] == [7, 0]
  assert 0 < time.time() - calls[0]['started'] < 86400
  assert main_lib.main([*argv, '--profile=7', '--dry_run']) == 1
  assert '--profile=7 has no meaning here' in capsys.readouterr().err


# The second has a loss that needs weights, which encoding does not need.
@pytest.mark.parametrize('config', [RQVAE, 'configs/imagenet256/rqvae.py'])
def test_a_missing_tokenizer_is_named(config, tmp_path, capsys):
  code = main_lib.main(
      [
          'encode',
          f'--config={config}',
          f'--tokenizer={tmp_path / "none"}',
          f'--out={tmp_path / "cache"}',
      ]
  )
  assert code == 1
  assert 'holds no config.json' in capsys.readouterr().err


def test_top_p_of_zero_is_refused_before_anything_is_restored(capsys):
  code = main_lib.main(
      ['sample', '--checkpoint=x', '--out=y', '--top_p=0', '--labels=1']
  )
  assert code == 1
  assert 'top_p=0.0 must be in (0, 1]' in capsys.readouterr().err


@pytest.mark.process
def test_an_unwritable_workdir_is_refused(tmp_path):
  file = tmp_path / 'file'
  file.write_text('')
  code, _, error = run(
      'train', f'--config={RQVAE}', f'--workdir={file / "run"}'
  )
  assert code == 1
  assert 'cannot be written' in error.splitlines()[-1]
