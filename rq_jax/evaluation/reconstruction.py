"""Metrics of the distance between images and their reconstructions."""

import jax
import jax.numpy as jnp


def psnr(mse: jax.Array) -> jax.Array:
  """Peak signal-to-noise ratio in dB, from the mean squared error.

  Args:
    mse: float[...], mean squared errors of pixels in [-1, 1].

  Returns:
    float32[...].
  """
  return 10 * jnp.log10(jnp.asarray(4 / mse, jnp.float32))
