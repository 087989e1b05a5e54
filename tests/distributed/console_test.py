"""Only the first process prints progress, and no output stops a program."""

import io
import sys
import types

import jax
import pytest

from rq_jax.distributed import console
from rq_jax.distributed import progress


def joined(monkeypatch, index):
  """Makes this process number `index` of several."""
  monkeypatch.setattr(jax.distributed, 'is_initialized', lambda: True)
  monkeypatch.setattr(jax, 'process_index', lambda: index)


@pytest.mark.parametrize(('index', 'printed'), [(0, 'Done.\n'), (1, '')])
def test_only_the_first_process_tells(index, printed, monkeypatch, capsys):
  joined(monkeypatch, index)
  assert console.is_first() == (index == 0)
  console.tell('Done.')
  assert capsys.readouterr().out == printed


def test_a_process_that_has_joined_no_others_is_the_first(monkeypatch, capsys):
  def fail():
    raise AssertionError('A backend was started.')

  monkeypatch.setattr(jax, 'process_index', fail)
  console.tell('Done.')
  monkeypatch.delitem(sys.modules, 'jax')
  assert console.is_first()
  assert capsys.readouterr().out == 'Done.\n'


@pytest.mark.parametrize('error', [BrokenPipeError, ValueError])
def test_nothing_happens_if_nobody_reads_any_more(error, monkeypatch):
  def write(_):
    raise error('closed')

  monkeypatch.setattr(sys, 'stdout', types.SimpleNamespace(write=write))
  console.tell('Done.')


@pytest.mark.parametrize('index', [0, 1])
def test_every_process_warns_below_its_bars(index, monkeypatch, caplog):
  joined(monkeypatch, index)
  with progress.bar(total=2):
    console.warn('100 % full')
  (record,) = caplog.records
  assert record.levelname == 'WARNING'
  assert record.getMessage() == '100 % full'


def test_what_is_told_has_a_line_of_its_own_below_bars(monkeypatch):
  terminal = io.StringIO()
  monkeypatch.setattr(sys, 'stderr', terminal)
  monkeypatch.setattr(sys, 'stdout', terminal)
  with progress.bar(total=4, desc='steps', mininterval=0) as bar:
    bar.update(1)
    console.tell('Evaluating ...')
    before, after = terminal.getvalue().split('Evaluating ...\n')
  # What a terminal shows of a line is what follows the last carriage return.
  assert 'steps:  25%' in before and before.split('\r')[-1].strip() == ''
  assert 'steps:  25%' in after


def test_the_first_call_says_that_it_compiles_and_how_long_it_took(
    monkeypatch, capsys
):
  ticks = iter([100.0, 133.6])
  clock = types.SimpleNamespace(perf_counter=lambda: next(ticks))
  monkeypatch.setattr(console, 'time', clock)
  for first in (True, False, False):
    with console.compiling('the step', first=first):
      console.tell('called')
  assert capsys.readouterr().out.splitlines() == [
      'Compiling the step (once per shape) ...',
      'called',
      'Compiled in 33.6 s.',
      'called',
      'called',
  ]


def test_a_call_that_fails_has_not_compiled(capsys):
  with pytest.raises(KeyError), console.compiling('the step'):
    raise KeyError
  assert capsys.readouterr().out == 'Compiling the step (once per shape) ...\n'
