"""Filters against sorting in NumPy, and against the official sampler."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import categorical
from rq_jax.models import rqtransformer
from rq_jax.sampling import filtering
from rq_jax.sampling import requests
from rq_jax.sampling import steps
from rq_jax.sampling.options import Sampling
from tests import official
from tests.sampling import reference

_K = 24
# Programs for all k and p of a shape: both may be values of an array.
keep_top_k = jax.jit(filtering.keep_top_k)
keep_top_p = jax.jit(filtering.keep_top_p)


@functools.cache
def _logits(kind):
  rng = np.random.default_rng(0)
  logits = rng.normal(scale=2, size=(40, _K)).astype(np.float32)
  if kind == 'tied':
    # Seven values, so that most are shared by several codes.
    logits = np.clip(np.round(logits), -3, 3)
  elif kind == 'peaked':
    logits[np.arange(40), rng.integers(_K, size=40)] += 50
  elif kind == 'constant':
    logits[:] = logits[:, :1]
  elif kind == 'absent':
    logits[rng.random(logits.shape) < 0.7] = -np.inf
    logits[:, 5] = 0.25  # One at least is there.
  elif kind == 'extreme':
    logits *= 1e30
  return logits


_KINDS = ('random', 'tied', 'peaked', 'constant', 'absent', 'extreme')


@pytest.mark.parametrize('kind', _KINDS)
@pytest.mark.parametrize('k', [1, 2, 7, _K - 1, _K, _K + 1, 1000])
def test_top_k_keeps_the_k_largest_and_ties(kind, k):
  logits = _logits(kind)
  actual = keep_top_k(logits, k)
  np.testing.assert_array_equal(actual, reference.top_k(logits, k))
  assert actual.dtype == jnp.float32


@pytest.mark.parametrize('kind', _KINDS)
# Chosen so that no sum of few equal numbers is one of them.
@pytest.mark.parametrize('p', [1e-6, 0.0501, 0.3003, 0.9007, 0.99901, 1.0])
def test_top_p_keeps_the_most_likely_that_reach_p_and_ties(kind, p):
  logits = _logits(kind)
  actual = keep_top_p(logits, p)
  np.testing.assert_array_equal(actual, reference.top_p(logits, p))
  assert actual.dtype == jnp.float32


@pytest.mark.parametrize('kind', _KINDS)
def test_sorting_finds_the_keys_that_the_search_finds(kind):
  keys = filtering.ordered_keys(_logits(kind))
  for k in (1, 7, _K):
    np.testing.assert_array_equal(
        filtering._sorted_kth(keys, k), filtering._searched_kth(keys, k)
    )
  for p in np.float32([1e-6, 0.0501, 0.3003, 0.9007, 0.99901]):
    np.testing.assert_array_equal(
        filtering._sorted_pth(keys, p), filtering._searched_pth(keys, p)
    )


def test_sorting_finds_p_among_many_blocks_of_codes():
  rng = np.random.default_rng(4)
  logits = rng.normal(scale=2, size=(5, 1000)).astype(np.float32)
  keys = filtering.ordered_keys(logits)
  last = filtering._sorted_pth(keys, np.float32(0.9007))
  kept = np.where(keys >= last, logits, -np.inf)
  np.testing.assert_array_equal(kept, reference.top_p(logits, 0.9007))


@pytest.mark.parametrize('size', [5, 128, 300])
def test_a_share_that_rounding_raises_above_the_sum_is_reached_at_the_end(size):
  logits = np.stack([-np.arange(size), np.zeros(size)]).astype(np.float32)
  index = categorical.first_reaching(logits, np.zeros(2), np.float32(1.1))
  np.testing.assert_array_equal(index, [size - 1, size - 1])


def test_keys_keep_the_order_of_floats_and_can_be_undone():
  values = np.float32([-np.inf, -3e38, -1.5, -1e-40, 0, 1e-40, 2, np.inf])
  keys = filtering.ordered_keys(values)
  assert (np.diff(np.asarray(keys, np.int64)) > 0).all()
  np.testing.assert_array_equal(filtering._values(keys), values)


def test_the_code_that_reaches_p_exactly_is_the_last():
  # Powers of two, whose sums are exact.
  logits = np.log(np.float32([[0.5, 0.125, 0.25, 0.125]]))
  kept = [
      np.flatnonzero(np.isfinite(keep_top_p(logits, p))[0]).tolist()
      for p in (0.4999, 0.5001, 0.7499, 0.7501)
  ]
  assert kept == [[0], [0, 2], [0, 2], [0, 1, 2, 3]]
  # Different logits, of which each has a mass of exactly 1 in float32.
  logits = np.float32([[1e-8, 3e-8, 0, 2e-8]])
  expected = [[-np.inf, logits[0, 1], -np.inf, logits[0, 3]]]
  np.testing.assert_array_equal(keep_top_p(logits, 0.5), expected)


def test_both_zeros_are_one_value():
  logits = np.float32([[-0.0, 0.0, -1.0, -0.0]])
  expected = [[0, 0, -np.inf, 0]]
  np.testing.assert_array_equal(keep_top_k(logits, 1), expected)
  np.testing.assert_array_equal(keep_top_p(logits, 0.1), expected)


def test_a_p_of_1_keeps_codes_that_no_float32_sum_notices():
  logits = np.float32([[0.0, -30.0, -200.0, -np.inf]])
  np.testing.assert_array_equal(keep_top_p(logits, 1.0), logits)


@functools.cache
def _official_cases():
  file = official.FIXTURES / 'sampling' / 'meta.json'
  return json.loads(file.read_text())['cases']


@jax.jit
def _probabilities(logits, temperature, k, p):
  logits = filtering.keep_top_k(logits / temperature, k)
  return jax.nn.softmax(filtering.keep_top_p(logits, p))


def test_probabilities_are_the_official_ones():
  """Where the official sampler keeps as many codes, they agree within 1e-5.

  It may keep fewer in two cases: of codes as likely as the least likely one
  kept, it cuts some, so that its probabilities depend on the order of a sort;
  and at p = 1 it drops those behind which its float32 sum rounds to 1.
  """
  recording = official.recording('sampling')
  fewer = {'ties': 0, 'tail': 0}
  for case in _official_cases():
    logits = recording[case['logits']]
    top_k, top_p = case['top_k'], case['top_p']
    ours = _probabilities(
        logits,
        case['temperature'],
        logits.shape[-1] if top_k is None else top_k,
        1.0 if top_p is None else top_p,
    )
    expected = recording[case['key']]
    if not case['sorted_desc']:
      # A tail that a float32 sum does not notice is far below 1e-5.
      np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
    ours = np.sort(ours)[:, ::-1]
    for actual, row in zip(ours, np.sort(expected)[:, ::-1]):
      count = np.count_nonzero(row)
      dropped = actual[count:]
      if dropped.any() and top_p == 1.0 and dropped.sum() < 1e-6:
        fewer['tail'] += 1
      elif dropped.any():
        fewer['ties'] += 1
        assert case['logits'].startswith('logits_ties')
        # All that we keep beyond are tied with the last that it keeps.
        np.testing.assert_array_equal(dropped[dropped > 0], actual[count - 1])
      np.testing.assert_allclose(
          actual[:count] / actual[:count].sum(),
          row[:count],
          rtol=1e-5,
          atol=1e-5,
      )
  assert fewer['ties'] > 50 and fewer['tail'] > 0
  assert len(_official_cases()) == 241


def test_frequencies_of_official_draws_fit_our_probabilities():
  recording = official.recording('sampling')
  logits = recording['logits_rand_64'][:1]
  expected = np.asarray(_probabilities(logits, 1.0, 20, 0.9)[0])
  # Five standard deviations of 200000 draws; what is never drawn is exact.
  allowed = 5 * np.sqrt(expected * (1 - expected) / 200_000)
  assert (np.abs(recording['freq'] - expected) <= allowed).all()


_filter = jax.jit(steps.filtered, static_argnums=2)


def _request(sampling, depth, size):
  prior = rqtransformer.RQTransformer(
      code_shape=(1, 1, depth), codebook_size=size
  )
  return requests.make(prior, np.zeros((1, 1), np.int32), sampling)


def _filtered(logits, sampling, d, depth):
  return _filter(logits, _request(sampling, depth, logits.shape[-1]), d)


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(temperature=0.7),
        dict(top_k=5),
        dict(top_p=0.8),
        dict(temperature=1.5, top_k=9, top_p=0.9),
        dict(top_k=_K),
        dict(top_k=1000, top_p=1),
    ],
    ids=str,
)
def test_options_apply_temperature_then_top_k_then_top_p(options):
  logits = _logits('random')
  actual = jax.nn.softmax(_filtered(logits, Sampling(**options), 0, 1))
  expected = reference.probabilities(
      logits,
      options.get('temperature', 1.0),
      options.get('top_k'),
      options.get('top_p', 1.0),
  )
  np.testing.assert_array_equal(actual > 0, expected > 0)
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)


def test_each_depth_has_its_own_options():
  sampling = Sampling(temperature=[1, 0.5], top_k=[3, _K], top_p=[1.0, 0.6])
  for d, options in enumerate([(1, 3, 1.0), (0.5, None, 0.6)]):
    actual = jax.nn.softmax(_filtered(_logits('random'), sampling, d, 2))
    np.testing.assert_allclose(
        actual,
        reference.probabilities(_logits('random'), *options),
        rtol=1e-5,
        atol=1e-7,
    )


@jax.jit
def _draw_filtered(logits, request, uniforms):
  return categorical.draw(steps.filtered(logits, request, 0), uniforms)


def _draw(logits, sampling, uniforms):
  return _draw_filtered(
      logits, _request(sampling, 1, logits.shape[-1]), uniforms
  )


@pytest.mark.parametrize(
    'options', [(1.0, None, 1.0), (0.8, 12, 0.9), (2.0, 6, 1.0)], ids=str
)
@pytest.mark.parametrize('kind', ['random', 'tied'])
def test_draws_follow_the_filtered_probabilities(kind, options):
  logits, draws = _logits(kind)[:1], 100_000
  temperature, top_k, top_p = options
  sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
  uniforms = jax.random.uniform(jax.random.key(1), (draws,))
  drawn = _draw(np.repeat(logits, draws, axis=0), sampling, uniforms)
  observed = np.bincount(drawn, minlength=_K)
  expected = draws * reference.probabilities(logits, *options)[0]
  possible = expected > 0
  assert not observed[~possible].any()
  statistic = np.sum((observed - expected)[possible] ** 2 / expected[possible])
  # The draws are fixed; one of a thousand right samplers would fail.
  assert jax.scipy.stats.chi2.sf(statistic, possible.sum() - 1) > 1e-3


def test_what_a_filter_removed_is_not_drawn_where_sums_round_unevenly():
  # Parallel prefix sums of many numbers may step where a zero is added. Here
  # are uniform numbers that fall into such steps.
  rng = np.random.default_rng(2)
  logits = rng.normal(scale=2, size=(16, 4096)).astype(np.float32)
  sampling = Sampling(top_k=400)
  kept = np.isfinite(_filtered(logits, sampling, 0, 1))
  mass = np.where(kept, np.exp(logits - logits.max(-1, keepdims=True)), 0)
  cumulative = np.asarray(jax.jit(lambda x: jnp.cumsum(x, axis=-1))(mass))
  rows, columns = np.nonzero((np.diff(cumulative) > 0) & ~kept[:, 1:])
  uniforms = cumulative[rows, columns] / cumulative[rows, -1]
  # If sums here are sequential, there are none, and nothing can go wrong.
  rows = np.append(rows, 0)[:256]
  uniforms = np.append(uniforms, 0.5)[:256].astype(np.float32)
  rows = np.resize(rows, 256)
  for towards in (-1, 0, 1):
    numbers = np.resize(uniforms, 256)
    if towards:
      numbers = np.nextafter(numbers, np.float32(towards))
    drawn = _draw(logits[rows], sampling, np.clip(numbers, 0, 1 - 2**-24))
    assert kept[rows, drawn].all()
