"""A trace of some steps lies in the folder of a run."""

import gzip
import json

import jax
import pytest

from rq_jax.training import profiling
from tests.training import toy


def recorded(folder):
  """Numbers of the steps in the only trace of a folder."""
  (file,) = folder.glob('plugins/profile/*/*.trace.json.gz')
  (_,) = folder.glob('plugins/profile/*/*.xplane.pb')
  events = json.loads(gzip.decompress(file.read_bytes()))['traceEvents']
  return sorted(
      int(event['args']['step_num'])
      for event in events
      if event.get('name') == 'train' and 'step_num' in event.get('args', {})
  )


def test_steps_are_recorded_after_the_one_that_compiles(tmp_path, capsys):
  toy.run(tmp_path, profile=2)
  assert recorded(tmp_path / 'profile') == [2, 3]
  text = capsys.readouterr().out
  assert f'A trace of steps 2 to 3 is in {tmp_path / "profile"}.' in text
  assert f'xprof --logdir={tmp_path / "profile"}' in text
  assert toy.train_lines(tmp_path) == toy.train_lines(toy.finished()[0])


def traced(tmp_path, steps, count, waits):
  return profiling.traced(
      steps, count=count, folder=tmp_path, wait=lambda: waits.append(1)
  )


def test_the_trace_of_a_run_that_stops_is_kept(tmp_path, capsys):
  steps = traced(tmp_path, range(1, 100), 50, [])
  taken = [next(steps) for _ in range(4)]
  steps.close()
  assert taken == [1, 2, 3, 4]
  assert recorded(tmp_path) == [2, 3, 4]
  assert 'steps 2 to 3' in capsys.readouterr().out  # The fourth was not over.
  jax.profiler.start_trace(tmp_path)  # An error if one is still recorded.
  jax.profiler.stop_trace()


def test_without_a_trace_nothing_waits(tmp_path, monkeypatch):
  waits = []
  assert list(traced(tmp_path, range(1, 5), 0, waits)) == [1, 2, 3, 4]
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  assert list(traced(tmp_path, range(1, 5), 2, waits)) == [1, 2, 3, 4]
  assert not waits and not list(tmp_path.iterdir())


@pytest.mark.parametrize('last', [1, 2])
def test_a_run_may_be_shorter_than_the_trace(last, tmp_path, capsys):
  waits = []
  steps = list(traced(tmp_path, range(1, last + 1), 9, waits))
  assert steps == list(range(1, last + 1))
  shown = {1: 'no steps', 2: 'steps 2 to 2'}[last]
  assert f'A trace of {shown} is in' in capsys.readouterr().out
