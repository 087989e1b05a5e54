"""Moments of rows, which kernels pass to each other."""

import numpy as np
import pytest

from rq_jax.sampling.kernels import norms
from tests.sampling.kernels import arrays


@pytest.mark.parametrize('offset', [0, 30])
def test_moments_are_the_mean_and_the_squared_deviations(offset):
  (x,) = arrays.draw(0, (5, 48))
  rows = norms.measure(x + offset)
  np.testing.assert_array_equal(rows.x, x + offset)
  exact = arrays.to_float64(rows.x)
  mean = exact.mean(axis=1, keepdims=True)
  squares = ((exact - mean) ** 2).sum(axis=1, keepdims=True)
  np.testing.assert_allclose(rows.means, mean, rtol=1e-6, atol=1e-7)
  np.testing.assert_allclose(rows.squares, squares, rtol=1e-5)


def test_squared_deviations_of_equal_numbers_are_not_negative():
  rows = norms.measure(np.full((3, 48), 0.1, np.float32))
  np.testing.assert_array_equal(rows.squares, 0)
