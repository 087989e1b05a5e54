"""Flags of commands that several processes may run together."""

import jax
import pytest

from rq_jax import __main__ as main_lib

CONFIG = '--config=configs/digits/rqvae.py'
COMMANDS = {
    'train': [CONFIG, '--workdir={0}/run'],
    'encode': [CONFIG, '--tokenizer={0}/none', '--out={0}/run'],
    'sample': ['--checkpoint={0}/none', '--out={0}/run'],
}


def run(name, folder, *flags):
  given = [flag.format(folder) for flag in COMMANDS[name]]
  return main_lib.main([name, *given, *flags])


@pytest.mark.parametrize('name', COMMANDS)
def test_commands_join_the_processes_that_are_given_first(
    name, tmp_path, monkeypatch, capsys
):
  def join(**arguments):
    raise ValueError(f'joined {arguments}')

  monkeypatch.setattr(jax.distributed, 'initialize', join)
  flags = ['--coordinator=here:1', '--processes=3', '--process=2']
  assert run(name, tmp_path, *flags) == 1
  error = capsys.readouterr().err
  assert "'coordinator_address': 'here:1', 'num_processes': 3" in error
  assert "'process_id': 2" in error
  assert not (tmp_path / 'run').exists()
  assert run(name, tmp_path, *flags, '--distributed=off') == 1
  assert 'joins no other process' in capsys.readouterr().err


@pytest.mark.parametrize(
    'flags', [['--distributed', '-h'], ['--distributed=1']]
)
@pytest.mark.parametrize('name', COMMANDS)
def test_the_flag_is_no_switch(name, flags, tmp_path, capsys):
  assert run(name, tmp_path, *flags) == 1
  error = capsys.readouterr().err
  assert 'flag --distributed=' in error
  assert 'value should be one of <auto|off>' in error


@pytest.mark.parametrize(
    'flag', ['--coordinator=here:1', '--processes=2', '--process=0']
)
def test_a_plan_joins_no_processes(flag, capsys):
  assert main_lib.main(['train', CONFIG, '--dry_run', flag]) == 1
  assert f'{flag} has no meaning here' in capsys.readouterr().err
