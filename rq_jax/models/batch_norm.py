"""Batch normalization with stored statistics, for networks not trained here."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class BatchNorm(nn.Module):
  """Normalizes channels by statistics of the training data.

  The statistics are parameters as any others: nothing updates them.

  Parameters are `scale`, `bias`, `mean` and `var`, float32[C].

  Attributes:
    epsilon: Added to the variance.
  """

  epsilon: float

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Scales and shifts channels: float32[..., C] -> float32[..., C]."""
    # By default, the dtype would depend on JAX_ENABLE_X64.
    array = x.shape[-1:], jnp.float32
    scale = self.param('scale', nn.initializers.ones, *array)
    bias = self.param('bias', nn.initializers.zeros, *array)
    mean = self.param('mean', nn.initializers.zeros, *array)
    var = self.param('var', nn.initializers.ones, *array)
    factor = scale / jnp.sqrt(var + self.epsilon)
    over = tuple(range(x.ndim - 1))
    shift = jnp.expand_dims(bias - mean * factor, over)
    return x * jnp.expand_dims(factor, over) + shift
