"""Every second of a run belongs to one kind of work, also over restarts."""

import contextlib
import os
import time
import types

import jax
import pytest

from rq_jax import compilation
from rq_jax.distributed import interrupts
from rq_jax.training import metrics
from rq_jax.training import time_accounts
from tests.training import toy


class Clock:
  """A clock that only moves when a test says so."""

  def __init__(self, monkeypatch):
    self.now = 1000.0
    fake = types.SimpleNamespace(
        time=lambda: self.now, perf_counter=lambda: self.now
    )
    for module in (time_accounts, metrics):
      monkeypatch.setattr(module, 'time', fake)


@pytest.fixture(name='clock')
def fixture_clock(monkeypatch):
  return Clock(monkeypatch)


def seconds(accounts):
  """The kinds that took any time."""
  found = accounts.totals()
  return {n.removeprefix('time/'): s for n, s in found.items() if s}


def work(clock, accounts, **kinds):
  """Does work of some kinds, for this many seconds each."""
  for kind, passed in kinds.items():
    with accounts.kind(kind):
      clock.now += passed


def lines_of(folder):
  return [line for line in metrics.read_metrics(folder) if 'time/step' in line]


@pytest.fixture(name='program')
def fixture_program(clock, tmp_path):
  """Starts programs; they are killed, unless a test leaves their writer."""
  with contextlib.ExitStack() as opened:

    def start(step, **options):
      accounts, writer = started(clock, tmp_path, step, **options)
      opened.callback(writer.close)  # This writes nothing.
      return accounts, writer

    yield start


def started(clock, folder, step, *, finished=False):
  """The accounts and the metrics of a program that starts at a step."""
  accounts = time_accounts.Accounts()
  work(clock, accounts, restore=1)
  writer = metrics.MetricWriter(
      folder, start_step=step, finished=finished, accounts=accounts
  )
  accounts.switch('step')
  return accounts, writer


def test_kinds_add_up_to_the_wall_time(clock):
  accounts = time_accounts.Accounts(started=clock.now - 7)
  clock.now += 2
  accounts.switch('step')
  clock.now += 10
  with accounts.kind('evaluation'):
    clock.now += 3
    with accounts.kind('save'):
      clock.now += 4
    clock.now += 5
  clock.now += 20
  assert seconds(accounts) == {
      'start': 9.0,
      'step': 30.0,
      'evaluation': 8.0,
      'save': 4.0,
  }
  assert sum(accounts.totals().values()) == clock.now - (1000 - 7)


def test_an_error_ends_a_kind(clock):
  accounts = time_accounts.Accounts()
  accounts.switch('step')
  with pytest.raises(ValueError), accounts.kind('input'):
    clock.now += 1
    raise ValueError
  clock.now += 2
  assert seconds(accounts) == {'input': 1.0, 'step': 2.0}


def test_compilations_within_another_kind_are_no_part_of_it(clock, monkeypatch):
  found = compilation.Clock()
  accounts = time_accounts.Accounts()
  accounts._compiling = found
  with accounts.kind('evaluation'):
    clock.now += 5
    found.seconds += 2
  assert seconds(accounts) == {'compile': 2.0, 'evaluation': 3.0}
  clock.now += 1
  found.seconds += 4  # Of several threads.
  assert seconds(accounts)['compile'] == 3.0
  assert sum(accounts.totals().values()) == 6.0


def test_jax_reports_its_compilations_to_open_accounts(capsys):
  with time_accounts.Accounts() as accounts:
    jax.jit(lambda x: x * 3.14159 + time.time())(1.0)
    compiled = seconds(accounts)['compile']
  assert compiled > 0
  jax.jit(lambda x: x * 2.71828 + time.time())(1.0)
  assert seconds(accounts)['compile'] == compiled
  assert capsys.readouterr().out.startswith('Goodput 0.0%: steps took 0.0 s of')


def test_work_after_the_last_checkpoint_is_lost_with_a_killed_program(
    clock, program, tmp_path
):
  first, writer = program(0)
  work(clock, first, step=10, input=1)
  writer.write(2, {})  # A checkpoint.
  work(clock, first, compile=2, step=20, evaluation=5, save=1, start=4)
  writer.write(3, {'train/loss': 1.0})
  clock.now += 8  # Killed meanwhile.
  second, writer = program(2)
  expected = {
      'step': 10.0,
      'input': 1.0,
      'compile': 2.0,
      'start': 4.0,
      'restore': 2.0,
      'lost': 26.0,
      'down': 8.0,
  }
  assert seconds(second) == expected
  assert sum(expected.values()) == clock.now - 1000
  # It is on disk before the first step.
  last = lines_of(tmp_path)[-1]
  assert (last['step'], last['time/lost'], last['time/down']) == (2, 26.0, 8.0)
  assert last['time/restore'] == 2.0
  # The next program is killed before it writes anything.
  clock.now += 3
  third, _ = program(2)
  assert seconds(third) == expected | {'restore': 3.0, 'down': 11.0}
  assert sum(third.totals().values()) == clock.now - 1000


def test_nothing_is_lost_with_an_interrupted_program(clock, program):
  accounts, writer = program(0)
  with pytest.raises(interrupts.Interrupted), writer:
    work(clock, accounts, step=10, save=1)
    writer.write(7, {})
    work(clock, accounts, save=2)
    raise interrupts.Interrupted('saved at step 7')
  clock.now += 50
  again, _ = program(7)
  assert seconds(again) == {
      'step': 10.0,
      'save': 3.0,
      'restore': 2.0,
      'down': 50.0,
  }


def test_a_run_that_had_finished_was_not_down(clock, program):
  accounts, writer = program(0)
  with writer:
    work(clock, accounts, step=10)
    writer.write(7, {})
    work(clock, accounts, evaluation=3)
    writer.write(7, {'eval/mse': 1.0})
  clock.now += 10_000
  for finished in (True, False):  # Evaluated again, or with more steps.
    again, _ = program(7, finished=finished)
    found = seconds(again)
    assert 'down' not in found and 'lost' not in found
    assert (found['step'], found['evaluation']) == (10.0, 3.0)


def test_a_clock_that_was_set_back_takes_no_time_away(clock, program):
  accounts, writer = program(0)
  work(clock, accounts, step=10)
  writer.write(7, {})
  clock.now -= 500
  again, _ = program(7)
  assert seconds(again) == {'step': 10.0, 'restore': 2.0}


def test_a_run_of_an_older_version_starts_with_nothing(program, tmp_path):
  (tmp_path / 'metrics.jsonl').write_text('{"step": 5, "time": 10.0}\n')
  accounts, _ = program(5)
  assert seconds(accounts) == {'restore': 1.0}


def test_the_last_line_gives_the_goodput_and_all_other_shares(clock, capsys):
  accounts = time_accounts.Accounts()
  work(clock, accounts, step=7200, save=72, compile=3528, lost=1)
  with accounts:
    pass
  assert capsys.readouterr().out == (
      'Goodput 66.7%: steps took 2 h 0 min of 3 h 0 min. The rest: compilation'
      ' 32.7%, saving 0.7%.\n'
  )
  with pytest.raises(ValueError), accounts:
    raise ValueError
  assert not capsys.readouterr().out
  with pytest.raises(interrupts.Interrupted), accounts:
    raise interrupts.Interrupted('saved')
  assert capsys.readouterr().out


def test_a_process_knows_when_it_started():
  # psutil is not there, so compare with the time of the folder in /proc.
  started = time_accounts.process_started()
  assert abs(started - os.stat(f'/proc/{os.getpid()}').st_ctime) < 60
  assert started < time.time()


def test_a_run_accounts_for_all_of_its_time(tmp_path):
  began = time.time()
  with time_accounts.Accounts() as accounts:
    toy.run(tmp_path, config=toy.experiment(eval_steps=3), accounts=accounts)
  passed = time.time() - began
  lines = lines_of(tmp_path)
  last = {n: s for n, s in lines[-1].items() if n.startswith('time/')}
  assert passed - 0.5 < sum(last.values()) <= passed + 0.01
  for kind in ('step', 'compile', 'input', 'evaluation', 'save', 'start'):
    assert last[f'time/{kind}'] > 0, kind
  assert not last['time/lost'] and not last['time/restore']
  # At every checkpoint there is a line only for the time.
  only = [x['step'] for x in lines if not any('train/' in n for n in x)]
  assert only == [0, 2, 3, 4, 5, 5, 5]
  toy.run(tmp_path, steps=6, config=toy.experiment(eval_steps=3))
  assert lines_of(tmp_path)[-1]['time/restore'] > 0
  assert lines_of(tmp_path)[-1]['time/step'] > last['time/step']
