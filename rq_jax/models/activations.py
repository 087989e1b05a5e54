"""Activations whose gradients need only the input."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
  """The exact GELU, x * Phi(x), with the normal distribution Phi: any shape.

  The backward pass computes Phi again. JAX would store four arrays of the size
  of `x`, and read them.
  """
  return nn.gelu(x, approximate=False)


def _backward(x: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
  x32 = x.astype(jnp.float32)
  below = 0.5 * jax.lax.erfc(-x32 * np.float32(math.sqrt(0.5)))  # Phi(x)
  density = jnp.exp(-0.5 * jnp.square(x32)) * np.float32(
      1 / math.sqrt(2 * math.pi)
  )
  return (gradient * (below + x32 * density).astype(x.dtype),)


gelu.defvjp(lambda x: (gelu(x), x), _backward)
