"""Programs ask for huge pages, where Linux gives them only on request."""

import os
import runpy
import subprocess
import sys

import pytest

from rq_jax import huge_pages

GLIBC = 'glibc 2.36'
ASKED = {'GLIBC_TUNABLES': 'glibc.malloc.hugetlb=1'}


@pytest.fixture
def started(tmp_path, monkeypatch):
  """Programs that are started; Linux gives huge pages on request."""
  programs = []
  monkeypatch.setattr(os, 'execve', lambda *program: programs.append(program))
  monkeypatch.setattr(os, 'confstr', lambda name: GLIBC)
  monkeypatch.setattr(sys, 'orig_argv', ['python3', '-m', 'rq_jax', 'train'])
  monkeypatch.setattr(huge_pages, '_LINUX', tmp_path / 'enabled')
  monkeypatch.delenv('GLIBC_TUNABLES', raising=False)
  (tmp_path / 'enabled').write_text('always [madvise] never\n')
  return programs


def test_a_program_starts_again_with_its_own_arguments(started, monkeypatch):
  monkeypatch.setenv('OTHER', 'kept')
  huge_pages.start_again()
  ((program, argv, environment),) = started
  assert program == sys.executable
  assert argv == [sys.executable, '-m', 'rq_jax', 'train']
  assert environment == os.environ | ASKED
  assert environment['OTHER'] == 'kept'


def test_other_tunables_stay(started, monkeypatch):
  monkeypatch.setenv('GLIBC_TUNABLES', 'glibc.malloc.arena_max=2')
  huge_pages.start_again()
  assert started[0][2]['GLIBC_TUNABLES'] == (
      'glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1'
  )


@pytest.mark.parametrize('value', ['0', '1'])
def test_who_has_chosen_does_not_start_again(started, monkeypatch, value):
  monkeypatch.setenv('GLIBC_TUNABLES', f'a.b=1:glibc.malloc.hugetlb={value}')
  huge_pages.start_again()
  assert not started


@pytest.mark.parametrize('pages', ['[always] madvise never', None])
def test_nothing_starts_where_linux_does_not_wait_for_requests(
    started, tmp_path, pages
):
  (tmp_path / 'enabled').unlink()
  if pages:
    (tmp_path / 'enabled').write_text(pages)
  huge_pages.start_again()
  assert not started


@pytest.mark.parametrize(
    'version', ['glibc 2.34', 'musl 2.36', 'glibc', '', None]
)
def test_nothing_starts_with_another_c_library(started, monkeypatch, version):
  monkeypatch.setattr(os, 'confstr', lambda name: version)
  huge_pages.start_again()
  assert not started


@pytest.mark.parametrize('version', ['glibc 2.35', 'glibc 3.1'])
def test_libraries_with_the_option_are_asked(started, monkeypatch, version):
  monkeypatch.setattr(os, 'confstr', lambda name: version)
  huge_pages.start_again()
  assert started


@pytest.mark.parametrize('program', ['', None])
def test_an_unknown_interpreter_is_not_started(started, monkeypatch, program):
  monkeypatch.setattr(sys, 'executable', program)
  huge_pages.start_again()
  assert not started


def test_other_systems_have_no_such_question(started, monkeypatch):
  monkeypatch.delattr(os, 'confstr')
  huge_pages.start_again()
  assert not started


def test_a_program_that_cannot_start_again_goes_on(started, monkeypatch):
  def refuse(*_):
    raise PermissionError

  monkeypatch.setattr(os, 'execve', refuse)
  huge_pages.start_again()


def test_commands_start_again_before_anything_else(started, monkeypatch):
  class StartedError(Exception):
    pass

  def start(*_):
    raise StartedError

  monkeypatch.setattr(os, 'execve', start)
  # What another test has imported is no second program.
  monkeypatch.delitem(sys.modules, 'rq_jax.__main__', raising=False)
  with pytest.raises(StartedError):
    runpy.run_module('rq_jax', run_name='__main__')


@pytest.mark.process
def test_a_real_program_has_them_after_it_starts_again():
  code = (
      'from rq_jax import huge_pages; import os, sys;'
      'asks = huge_pages._on_request(); huge_pages.start_again();'
      'print(asks, os.environ.get("GLIBC_TUNABLES"), sys.argv[1:])'
  )
  environment = dict(os.environ)
  environment.pop('GLIBC_TUNABLES', None)
  done = subprocess.run(
      [sys.executable, '-c', code, 'a b'],
      env=environment,
      capture_output=True,
      text=True,
      check=True,
  )
  assert done.stdout in (
      "True glibc.malloc.hugetlb=1 ['a b']\n",
      "False None ['a b']\n",
  )
