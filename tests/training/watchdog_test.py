"""A step that takes much longer than others shows the stacks, once."""

import sys
import time

import pytest

from rq_jax.training import watchdog


@pytest.fixture
def printed(tmp_path, monkeypatch):
  """Returns what has been written to the standard error of the process."""
  with open(tmp_path / 'error', 'w+') as file:
    monkeypatch.setattr(sys, '__stderr__', file)
    yield (tmp_path / 'error').read_text


def take(watch, count, seconds):
  for _ in range(count):
    watch.begin()
    time.sleep(seconds)
    watch.end()


def hanging_here(watch):
  take(watch, 1, 1.2)


def test_a_step_of_many_times_the_mean_shows_where_it_is(printed):
  with watchdog.Watchdog(1, factor=20, least=0.3) as watch:
    take(watch, 7, 0.02)
    hanging_here(watch)
    assert 'has taken' in printed()
    hanging_here(watch)
  text = printed()
  assert 'in hanging_here' in text
  assert text.count('Warning: This step has taken') == 1


def test_slow_steps_evaluations_and_the_first_steps_are_not_reported(printed):
  with watchdog.Watchdog(1, factor=2, least=0.3) as watch:
    take(watch, 1, 0.7)  # It compiles.
    take(watch, 6, 0.2)
    take(watch, 1, 0.25)  # More than the mean is not enough.
    time.sleep(0.7)  # An evaluation.
    take(watch, 1, 0.05)
  with watchdog.Watchdog(1, factor=20, least=0.1) as watch:
    take(watch, 6, 0.05)
    take(watch, 1, 0.5)
  assert not printed()


def test_a_step_that_waits_for_all_steps_since_the_last_log_is_not_reported(
    printed,
):
  with watchdog.Watchdog(10, factor=2, least=0.1) as watch:
    for _ in range(3):  # The mean is 0.05 s, so 1 s is allowed.
      take(watch, 9, 0)
      take(watch, 1, 0.5)
    assert not printed()
    hanging_here(watch)
  assert 'in hanging_here' in printed()
