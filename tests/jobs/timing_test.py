"""The clock, the rates of a device, and its memory."""

import time
import types

import jax
import numpy as np
import pytest

from rq_jax.jobs import timing


def test_the_first_call_is_apart_from_those_that_count():
  calls = []

  def slow_at_first():
    calls.append(None)
    time.sleep(0.2 if len(calls) == 1 else 0.02)

  found = timing.measure(slow_at_first, 3)
  assert len(calls) == 4
  assert len(found.seconds) == len(found.cpu_seconds) == 3
  assert found.first > 0.2
  assert all(0.02 < seconds < 0.1 for seconds in found.seconds)
  assert found.compilation == found.first - found.median
  # A sleeping process uses no CPU time.
  assert found.cpu_median < 0.02


def test_the_compiler_is_timed_in_the_first_call_alone():
  def compile_something():
    jax.monitoring.record_event_duration_secs(
        '/jax/core/compile/backend_compile_duration', 2.5
    )
    jax.monitoring.record_event_duration_secs('/other', 100.0)

  assert timing.measure(compile_something, 2).compiler == 2.5
  assert timing.measure(lambda: None, 1).compiler == 0


def test_medians_are_of_all_calls():
  found = timing.Timing(
      first=3.0,
      compiler=1.0,
      seconds=(1.0, 9.0, 2.0),
      cpu_seconds=(5.0, 4.0, 70.0),
  )
  assert (found.median, found.cpu_median, found.compilation) == (2, 5, 1)


def test_rates_are_those_of_the_fastest_call(monkeypatch):
  seconds = iter([(0.5, 0.25, 1.0), (4.0, 2.0, 8.0)])

  def measure(fn, repeats):
    jax.block_until_ready((fn(), fn())[1])  # Twice: copies in place.
    return types.SimpleNamespace(seconds=next(seconds))

  monkeypatch.setattr(timing, 'measure', measure)
  chip = timing.calibrate('float32', side=10, copied=4000)
  assert chip.flops('float32') == 2 * 10**3 / 0.25
  assert chip.bytes_per_second == 2 * 4000 / 2.0
  assert np.isnan(chip.flops('bfloat16'))
  assert chip.name == 'cpu'
  assert chip.source == 'measured in this run'


def test_memory_is_that_of_the_device_where_it_tells(monkeypatch):
  def device(**stats):
    return lambda: [types.SimpleNamespace(memory_stats=lambda: stats or None)]

  held = np.ones(2**24)  # 128 MiB, touched.
  monkeypatch.setattr(jax, 'devices', device())
  found = timing.peak_memory()
  assert found['of'] == 'process'
  assert held.nbytes < found['bytes'] < 2**36
  monkeypatch.setattr(jax, 'devices', device(peak_bytes_in_use=7))
  assert timing.peak_memory() == {'bytes': 7, 'of': 'device'}


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_a_device_is_calibrated_in_the_dtype_asked_for(dtype):
  chip = timing.calibrate(dtype, side=32, copied=2**12)
  other = {'float32': 'bfloat16', 'bfloat16': 'float32'}[dtype]
  assert 1e5 < chip.flops(dtype) < 1e14
  assert np.isnan(chip.flops(other))
  assert 1e5 < chip.bytes_per_second < 1e14
