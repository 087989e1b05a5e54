"""The kernel that filters and draws, against its plain form and NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.sampling.kernels import draws
from tests.sampling import reference

_BATCH = 24
_DEPTH = 1
_TEMPERATURE = np.array([9.0, 0.7], np.float32)
# By name: top_k and top_p, which follow a value of another depth.
_FILTERS = {
    'none': (None, None),
    'top_k': (3, None),
    'top_p': (None, 0.9),
    'both': (11, 0.5),
    'all': (None, 1.0),
}


def _logits(kind, size):
  rng = np.random.default_rng(size)
  logits = rng.normal(scale=3, size=(_BATCH, size)).astype(np.float32)
  if kind == 'ties':
    logits = np.round(logits)
  if kind == 'masked':
    logits[:, rng.random(size) < 0.4] = -np.inf
  return logits


def _uniforms():
  uniforms = np.random.default_rng(0).random(_BATCH).astype(np.float32)
  uniforms[:2] = 0, np.float32(1 - 2**-24)
  return uniforms


def _options(name):
  k, p = _FILTERS[name]
  return (
      None if k is None else np.array([1, k], np.int32),
      None if p is None else np.array([0.01, p], np.float32),
  )


@functools.partial(jax.jit, static_argnames=('plain',))
def _draw(logits, uniforms, top_k, top_p, plain=False):
  options = (logits, uniforms, jnp.asarray(_TEMPERATURE), top_k, top_p)
  if plain:
    return draws.plain(*options, depth=_DEPTH)
  return draws.draw(*options, depth=_DEPTH, interpret=True)


@pytest.mark.parametrize('name', _FILTERS)
@pytest.mark.parametrize('size', [12, 300, 16384])
@pytest.mark.parametrize('kind', ['random', 'ties', 'masked'])
def test_the_kernel_draws_the_codes_of_its_plain_form(kind, size, name):
  given = _logits(kind, size), _uniforms(), *_options(name)
  np.testing.assert_array_equal(_draw(*given), _draw(*given, plain=True))


@pytest.mark.parametrize('name', ['top_k', 'top_p', 'both'])
def test_only_codes_that_the_filters_keep_are_drawn(name):
  logits = _logits('ties', 300)
  drawn = np.asarray(_draw(logits, _uniforms(), *_options(name)))
  k, p = _FILTERS[name]
  kept = reference.probabilities(logits, _TEMPERATURE[_DEPTH], k, p or 1.0)
  assert (kept[np.arange(_BATCH), drawn] > 0).all()


def test_codes_are_drawn_in_proportion_to_their_probabilities():
  logits = np.repeat(np.log([[1.0, 2, 3, 4]]) * 0.7, 1000, axis=0)
  uniforms = (np.arange(1000, dtype=np.float32) + 0.5) / 1000
  drawn = _draw(logits.astype(np.float32), uniforms, None, None)
  np.testing.assert_array_equal(np.bincount(drawn), [100, 200, 300, 400])
