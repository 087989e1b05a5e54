"""Results of a device check are kept, whatever happens."""

import json
import time

import jax
import pytest

from rq_jax.jobs.benchmark.device import report as report_lib


@pytest.fixture
def clock(monkeypatch):
  """Seconds that have passed; a list of one number."""
  now = [100.0]
  monkeypatch.setattr(time, 'monotonic', lambda: now[0])
  return now


def test_every_case_is_written_at_once_and_errors_end_only_their_case(
    tmp_path, clock, capsys
):
  path = tmp_path / 'x.json'
  report = report_lib.Report(str(path), {'a': 1}, minutes=2)
  seen = []

  def works():
    seen.append(json.loads(path.read_text()))
    clock[0] += 3
    return {'b': 2}

  def lacks():
    raise report_lib.SkippedError('No such device.')

  def fails():
    raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: 5 bytes')

  def breaks():
    raise KeyError('x')

  def cases():
    yield 'lacks', lacks
    yield 'fails', fails
    yield 'breaks', breaks
    yield 'works', works
    raise RuntimeError('the end')

  report.part('p', cases())
  expected = [
      {
          'case': 'lacks',
          'seconds': 0,
          'state': 'skipped',
          'reason': 'No such device.',
      },
      {
          'case': 'fails',
          'seconds': 0,
          'state': 'failed',
          'reason': 'There is not enough memory.',
      },
      {
          'case': 'breaks',
          'seconds': 0,
          'state': 'failed',
          'reason': "KeyError('x')",
      },
      {'case': 'works', 'seconds': 3, 'state': 'done', 'found': {'b': 2}},
      {
          'case': 'p',
          'seconds': 0,
          'state': 'failed',
          'reason': "RuntimeError('the end')",
      },
  ]
  assert seen == [{'a': 1, 'parts': {'p': expected[:3]}}]
  assert json.loads(path.read_text()) == {'a': 1, 'parts': {'p': expected}}
  assert report.failed == ['p, fails', 'p, breaks', 'p, p']
  lines = capsys.readouterr().out.splitlines()
  assert lines[3] == '[   3 s] p, works: done in 3.0 s'
  assert len(lines) == 5


def test_a_case_that_may_take_too_long_is_skipped(tmp_path, clock):
  report = report_lib.Report(str(tmp_path / 'x.json'), {}, minutes=1)
  clock[0] += 50
  report.require(10)
  with pytest.raises(report_lib.SkippedError, match='Only 10 s are left'):
    report.require(11)
