"""Compiled programs are kept where only their user can write, and timed."""

import os
import pathlib
import stat
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from rq_jax import compilation
from rq_jax.distributed import console

_OPTIONS = (
    'jax_compilation_cache_dir',
    'jax_persistent_cache_min_compile_time_secs',
    'jax_persistent_cache_min_entry_size_bytes',
)


@pytest.fixture(autouse=True)
def settings(monkeypatch):
  """Starts without a folder in JAX, and restores its settings afterwards."""
  before = {name: getattr(jax.config, name) for name in _OPTIONS}
  monkeypatch.delenv('RQ_JAX_COMPILATION_CACHE', raising=False)
  jax.config.update('jax_compilation_cache_dir', None)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 1.0)
  yield
  for name, value in before.items():
    jax.config.update(name, value)


def _mode(path):
  return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_is_made_for_only_this_user(tmp_path):
  folder = tmp_path / 'some' / 'programs'
  before = os.umask(0)
  try:
    assert compilation.keep(str(folder)) == folder
  finally:
    os.umask(before)
  assert _mode(folder) == 0o700
  assert jax.config.jax_compilation_cache_dir == str(folder)
  assert jax.config.jax_persistent_cache_min_compile_time_secs == 0
  assert jax.config.jax_persistent_cache_min_entry_size_bytes == -1


def test_the_folder_is_that_of_the_environment_or_in_the_cache(
    tmp_path, monkeypatch
):
  def kept():
    jax.config.update('jax_compilation_cache_dir', None)
    return compilation.keep()

  monkeypatch.setenv('HOME', str(tmp_path / 'home'))
  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  assert kept() == tmp_path / 'home' / '.cache' / 'rq_jax' / 'xla'
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  assert kept() == tmp_path / 'cache' / 'rq_jax' / 'xla'
  monkeypatch.setenv('RQ_JAX_COMPILATION_CACHE', str(tmp_path / 'named'))
  assert kept() == tmp_path / 'named'
  assert compilation.keep(str(tmp_path / 'given')) == tmp_path / 'given'


def test_a_folder_that_jax_was_told_of_stays(tmp_path, monkeypatch):
  monkeypatch.setenv('RQ_JAX_COMPILATION_CACHE', str(tmp_path / 'other'))
  jax.config.update('jax_compilation_cache_dir', str(tmp_path / 'first'))
  assert compilation.keep() == tmp_path / 'first'
  assert jax.config.jax_compilation_cache_dir == str(tmp_path / 'first')
  assert not (tmp_path / 'other').exists()


def test_off_keeps_nothing(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert compilation.keep('off') is None
  monkeypatch.setenv('RQ_JAX_COMPILATION_CACHE', 'off')
  assert compilation.keep() is None
  assert jax.config.jax_compilation_cache_dir is None
  assert not list(tmp_path.iterdir())


def test_several_processes_may_keep_programs_only_where_they_are_told(
    tmp_path, monkeypatch
):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  assert compilation.keep(by_default=False) is None
  assert jax.config.jax_compilation_cache_dir is None
  assert not list(tmp_path.iterdir())
  monkeypatch.setenv('RQ_JAX_COMPILATION_CACHE', str(tmp_path / 'named'))
  assert compilation.keep(by_default=False) == tmp_path / 'named'


@pytest.mark.parametrize('mode', [0o720, 0o702, 0o777, 0o1777], ids=oct)
def test_a_folder_that_others_may_write_is_refused(mode, tmp_path):
  folder = tmp_path / 'shared'
  folder.mkdir()
  folder.chmod(mode)
  with pytest.raises(ValueError) as error:
    compilation.keep(str(folder))
  assert str(error.value) == (
      f'The folder {folder} for compiled programs is not safe: other users can'
      ' write to it, and so could run code in this process. Run chmod 700'
      f' {folder}, or set RQ_JAX_COMPILATION_CACHE to another folder, or to'
      ' off.'
  )
  assert jax.config.jax_compilation_cache_dir is None
  folder.chmod(0o755)  # Others may read it.
  assert compilation.keep(str(folder)) == folder


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(os, 'getuid', lambda: tmp_path.stat().st_uid + 1)
  with pytest.raises(ValueError) as error:
    compilation.keep(str(tmp_path))
  # There is no advice to change its mode, which only its owner can do.
  assert str(error.value).endswith(
      'so could run code in this process. Set RQ_JAX_COMPILATION_CACHE to'
      ' another folder, or to off.'
  )


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
  file = tmp_path / 'file'
  file.write_text('')
  for folder, reason in (
      (file, 'File exists'),
      (file / 'folder', 'Not a directory'),
  ):
    with pytest.raises(ValueError) as error:
      compilation.keep(str(folder))
    assert str(error.value) == (
        f'The folder {folder} for compiled programs cannot be created:'
        f' {reason}. Set RQ_JAX_COMPILATION_CACHE to another folder, or to off.'
    )


@pytest.fixture
def warnings(monkeypatch):
  """Collects warnings."""
  found = []
  monkeypatch.setattr(console, 'warn', found.append)
  return found


def test_without_a_home_folder_nothing_is_kept(monkeypatch, warnings):
  def home():
    raise RuntimeError('Could not determine home directory.')

  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  monkeypatch.setattr(pathlib.Path, 'home', home)
  assert compilation.keep() is None
  assert warnings == [
      'Compiled programs are not kept on disk. There is no home folder. Set'
      ' RQ_JAX_COMPILATION_CACHE to a folder, or to off.'
  ]
  assert jax.config.jax_compilation_cache_dir is None


def test_in_a_home_that_cannot_be_written_nothing_is_kept(
    tmp_path, monkeypatch, warnings
):
  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  monkeypatch.setenv('HOME', str(tmp_path / 'file'))
  (tmp_path / 'file').write_text('')
  assert compilation.keep() is None
  (sentence,) = warnings
  assert sentence == (
      'Compiled programs are not kept on disk. The folder'
      f' {tmp_path}/file/.cache/rq_jax/xla for compiled programs cannot be'
      ' created: Not a directory. Set RQ_JAX_COMPILATION_CACHE to another'
      ' folder, or to off.'
  )
  assert jax.config.jax_compilation_cache_dir is None


def test_a_folder_that_cannot_be_written_is_refused_if_it_was_given(
    tmp_path, monkeypatch, warnings
):
  # The superuser, who may run these tests, can write despite permissions.
  monkeypatch.setattr(os, 'access', lambda path, mode: not mode & os.W_OK)
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  assert compilation.keep() is None
  assert len(warnings) == 1
  refused = 'given for compiled programs cannot be written. Set'
  with pytest.raises(ValueError, match=refused):
    compilation.keep(str(tmp_path / 'given'))
  monkeypatch.setenv('RQ_JAX_COMPILATION_CACHE', str(tmp_path / 'given'))
  with pytest.raises(ValueError, match=refused):
    compilation.keep()
  assert len(warnings) == 1


_PROGRAM = """
import jax
jax.jit(lambda x: x - 1)(0.0)  # Not kept, because it is compiled before.
from rq_jax import compilation
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
compilation.keep()
jax.jit(lambda x: x * 3)(2.0)
print(hits.count('/jax/compilation_cache/cache_hits'))
"""


@pytest.mark.process
def test_the_next_process_finds_the_programs(tmp_path):
  env = dict(os.environ, RQ_JAX_COMPILATION_CACHE=str(tmp_path / 'programs'))
  for name in tuple(env):
    if name.startswith(('JAX_COMPILATION', 'JAX_PERSISTENT')):
      del env[name]

  def run():
    return subprocess.run(
        [sys.executable, '-c', _PROGRAM],
        cwd=pathlib.Path(__file__).parents[1],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

  assert run() == '0\n'
  kept = [p.name for p in (tmp_path / 'programs').glob('*-cache')]
  assert len(kept) == 1
  assert run() == '1\n'
  assert [p.name for p in (tmp_path / 'programs').glob('*-cache')] == kept


def test_a_clock_counts_compilations_alone():
  @jax.jit
  def program(x):
    return jnp.sin(x) + 5

  numbers = jnp.ones(3)
  with compilation.clock() as first:
    program(numbers)
    halfway = first.seconds
    program(jnp.ones(4))
  assert 0 < halfway < first.seconds < 60
  with compilation.clock() as second:
    program(numbers)
  assert second.seconds == 0
  taken = first.seconds
  program(jnp.ones(5))  # No clock counts this compilation.
  assert (first.seconds, second.seconds) == (taken, 0)


def test_a_clock_stops_at_an_error():
  with pytest.raises(KeyError), compilation.clock() as clock:
    raise KeyError
  jax.jit(lambda x: x + 7)(1.0)
  assert clock.seconds == 0


def test_a_clock_does_not_count_what_else_jax_measures():
  with compilation.clock() as clock:
    for event, seconds in (
        ('/jax/core/compile/jaxpr_trace_duration', 100.0),
        ('/jax/core/compile/backend_compile_duration', 2.0),
        ('/jax/core/compile/backend_compile_duration', 0.5),
    ):
      jax.monitoring.record_event_duration_secs(event, seconds)
  assert clock.seconds == 2.5


def test_a_folder_at_home_is_expanded(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert compilation.keep('~/kept') == tmp_path / 'kept'
  with pytest.raises(ValueError, match='no home folder ~nosuchuser'):
    compilation.keep('~nosuchuser/kept')


def test_a_folder_without_a_name_is_refused_by_its_variable(monkeypatch):
  monkeypatch.setenv('RQ_JAX_COMPILATION_CACHE', ' ')
  with pytest.raises(ValueError) as error:
    compilation.keep()
  assert str(error.value).startswith(
      "RQ_JAX_COMPILATION_CACHE=' ' names no file or folder. Give a path."
  )
