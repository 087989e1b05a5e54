import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import categorical

# The largest number below 1 that `jax.random.uniform` may return.
LARGEST = np.float32(1 - 2**-24)


@jax.jit
def draw(logits, uniforms):
  return categorical.draw(logits, uniforms)


def probabilities(logits):
  logits = np.asarray(logits, np.float64)
  mass = np.exp(logits - logits.max(-1, keepdims=True))
  return mass / mass.sum(-1, keepdims=True)


@pytest.mark.parametrize('size', [9, 128, 129, 1000, 16384])
def test_an_index_is_drawn_where_the_distribution_function_passes_u(size):
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(20, 40, size)).astype(np.float32) * 3
  uniforms = rng.random((20, 40), np.float32)
  cumulative = probabilities(logits).cumsum(-1)
  expected = (cumulative <= uniforms[..., None]).sum(-1)
  # Leaves out numbers so close to a step that rounding decides.
  clear = np.abs(cumulative - uniforms[..., None]).min(-1) > 1e-6
  assert clear.mean() > 0.9
  actual = draw(logits, uniforms)
  assert actual.dtype == jnp.int32
  np.testing.assert_array_equal(actual[clear], expected[clear])


def test_halves_are_split_at_one_half():
  uniforms = np.array([0.0, 0.25, 0.5, 0.75], np.float32)
  actual = draw(np.zeros((4, 2), np.float32), uniforms)
  np.testing.assert_array_equal(actual, [0, 0, 1, 1])


@pytest.mark.parametrize('u', [0.0, 0.5, LARGEST])
@pytest.mark.parametrize('size', [9, 300])
def test_what_has_no_probability_is_never_drawn(u, size):
  rng = np.random.default_rng(1)
  logits = rng.normal(size=(500, size)).astype(np.float32)
  # Most rows of 300 lack whole blocks.
  absent = rng.random((500, size)) < (0.7 if size == 9 else 0.997)
  absent[np.arange(500), rng.integers(size, size=500)] = False
  absent[:50, 0] = True  # The first code cannot be drawn,
  absent[:50, -1] = True  # nor can the last.
  absent[:50, 4] = False
  drawn = draw(np.where(absent, -np.inf, logits), np.full(500, u, np.float32))
  assert not absent[np.arange(500), drawn].any()


@pytest.mark.parametrize('size', [1, 2, 1000, 16384])
def test_the_largest_uniform_number_stays_in_range(size):
  # With peaks of different heights, the sum rounds differently.
  heights = np.linspace(-5, 5, 32, dtype=np.float32)[:, None]
  logits = np.concatenate(
      [heights, np.zeros((32, size - 1), np.float32)], axis=-1
  )
  drawn = draw(logits, np.full(32, LARGEST))
  assert drawn.max() <= size - 1
  assert drawn.max() >= (size - 1) * 0.99


def test_large_logits_do_not_overflow():
  logits = np.array([[3e38, 0.0], [-3e38, -3e38]], np.float32)
  drawn = draw(logits, np.array([LARGEST, 0.75], np.float32))
  np.testing.assert_array_equal(drawn, [0, 1])


def test_frequencies_follow_the_probabilities():
  logits = np.array([0.0, 1.0, -np.inf, 2.0, -1.0, 0.5], np.float32)
  draws = 100_000
  uniforms = jax.random.uniform(jax.random.key(0), (draws,))
  drawn = draw(np.tile(logits, (draws, 1)), uniforms)
  observed = np.bincount(drawn, minlength=6)
  expected = probabilities(logits) * draws
  possible = expected > 0
  chi_square = (observed - expected)[possible] ** 2 / expected[possible]
  assert observed[2] == 0
  # The 99.9th percentile for 4 degrees of freedom.
  assert chi_square.sum() < 18.47
