"""The exact GELU where `lax.erf` does not lower, as in Triton kernels."""

import jax
import jax.numpy as jnp

# XLA's rational approximation of erf in float32, x P(x^2) / Q(x^2), for |x| up
# to the limit, beyond which erf rounds to 1.
_LIMIT = 3.832506856900711
_P = (
    0.00022905065861350646,
    0.0034082910107109506,
    0.050955695062380861,
    0.18520832239976145,
    1.128379143519084,
)
_Q = (
    -1.1791602954361697e-7,
    0.000023547966471313185,
    0.0010179625278914885,
    0.014070470171167667,
    0.11098505178285362,
    0.49746925110067538,
    1.0,
)


def erf(x: jax.Array) -> jax.Array:
  """The error function of float32 numbers; its error is at most 4e-7."""
  x = jnp.clip(x, -_LIMIT, _LIMIT)
  square = x * x
  y = x * _polynomial(_P, square) / _polynomial(_Q, square)
  return jnp.clip(y, -1, 1)  # Rounding must not leave a GELU far below 0.


def exact(x: jax.Array) -> jax.Array:
  """GELU of float32 numbers; its error is at most 2e-6 for |x| < 6."""
  return 0.5 * x * (1 + erf(x * 0.5**0.5))


def sigmoid(x: jax.Array) -> jax.Array:
  """The sigmoid approximation of the GELU, of float32 numbers."""
  return x / (1 + jnp.exp(-1.702 * x))


FUNCTIONS = {'exact': exact, 'sigmoid': sigmoid}


def _polynomial(coefficients: tuple[float, ...], x: jax.Array) -> jax.Array:
  total = jnp.full_like(x, coefficients[0])
  for coefficient in coefficients[1:]:
    total = total * x + coefficient
  return total
