"""How far reconstructions are from their images."""

import jax
import jax.numpy as jnp


def psnr(mse: jax.Array) -> jax.Array:
  """Peak signal-to-noise ratio in dB, of pixels in [-1, 1]: -> float32[...]."""
  return 10 * jnp.log10(jnp.asarray(4 / mse, jnp.float32))
