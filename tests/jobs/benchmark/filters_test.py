"""Filters by search and by sorting keep the same codes; both are timed."""

import jax
import numpy as np
import pytest

from rq_jax.jobs import timing
from rq_jax.jobs.benchmark import filters
from rq_jax.sampling import filtering


def kept_top_p(row, p):
  """The most likely codes whose mass reaches p: float[K] -> bool[K]."""
  mass = np.exp(row.astype(float) - row.max())
  order = np.argsort(-row)
  count = 1 + np.sum(np.cumsum(mass[order]) < p * mass.sum())
  return np.isin(np.arange(len(row)), order[:count])


@pytest.fixture
def times(monkeypatch):
  """Gives calls of two filters known times; returns the calls."""
  calls = []

  def measure(fn, repeats):
    assert repeats == 1
    calls.append(fn())
    # The search takes 1, 3, 5, ... and sorting takes 2, 4, 6, ...
    seconds = float(len(calls))
    return timing.Timing(
        first=99.0,
        compiler=99.0,
        seconds=(seconds,),
        cpu_seconds=(10 * seconds**2,),
    )

  monkeypatch.setattr(timing, 'measure', measure)
  return calls


@pytest.mark.parametrize('p', [0.1, 0.5, 0.92])
def test_search_and_sort_keep_the_codes_that_numpy_keeps(p):
  logits = 1.5 * jax.random.normal(jax.random.key(3), (7, 40))
  expected = [kept_top_p(row, p) for row in np.asarray(logits)]
  for keep in (filtering.keep_top_p, filters._sorted_top_p):
    found = np.asarray(keep(logits, p=p))
    np.testing.assert_array_equal(np.isfinite(found), expected)
    np.testing.assert_array_equal(found[expected], logits[np.array(expected)])


@pytest.mark.parametrize('k', [1, 5, 40])
def test_search_and_sort_keep_the_k_largest(k):
  logits = 1.5 * jax.random.normal(jax.random.key(3), (7, 40))
  ranks = np.argsort(np.argsort(-np.asarray(logits), axis=-1), axis=-1)
  for keep in (filtering.keep_top_k, filters._sorted_top_k):
    found = np.asarray(keep(logits, k=k))
    np.testing.assert_array_equal(found, np.where(ranks < k, logits, -np.inf))


def test_both_filters_are_timed_in_turn_and_draw_the_same(times):
  top_p, top_k = filters.run(20, 3, 3)
  assert (top_p.name, top_k.name) == ('top_p 0.92', 'top_k 10')
  assert (top_p.equal, top_k.equal) == (1, 1)
  assert len(times) == 12  # Two filters, two ways, three repeats.
  # The median repeats are calls 3 and 4, then 9 and 10; each has 50 calls.
  assert top_p.seconds == (3 / 50, 4 / 50)
  assert top_k.seconds == (9 / 50, 10 / 50)
  assert top_p.cpu_seconds == (90 / 50, 160 / 50)
  assert top_p.ratio == pytest.approx(16 / 9)
  for results in times:
    assert len(results) == 50
    for result in results:
      assert result.shape == (3, 20)
  for results in times[6:]:  # By search and by sorting.
    assert np.all(np.sum(np.isfinite(results[-1]), axis=-1) == 10)


def test_top_k_is_that_of_the_paper_where_there_are_enough_codes(times):
  assert [f.name for f in filters.run(4096, 1, 1)][1] == 'top_k 2048'
  assert [f.name for f in filters.run(4098, 1, 1)][1] == 'top_k 2048'


def test_a_filter_that_keeps_something_else_is_noticed(times, monkeypatch):
  monkeypatch.setattr(filtering, 'keep_top_k', _smallest)
  top_p, top_k = filters.run(20, 3, 1)
  assert top_p.equal == 1
  assert top_k.equal < 0.5


def _smallest(logits, k):
  """Keeps the k smallest."""
  return -filters._sorted_top_k(-logits, k)


def test_the_table_tells_milliseconds_the_ratio_and_the_share():
  found = filters.Filter(
      name='top_x',
      seconds=(0.001, 0.0125),
      cpu_seconds=(0.002, 0.007),
      equal=0.9975,
  )
  title, _, _, _, row = filters.table([found], 6).splitlines()
  assert title.startswith('Filters of 6 rows')
  assert row == '| top_x | 1.000 | 12.500 | 2.000 | 7.000 | 3.5 | 99.75% |'
