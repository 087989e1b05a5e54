"""Layer normalization whose gradients need only the input."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

EPSILON = 1e-5  # The default of PyTorch.


class LayerNorm(nn.Module):
  """Layer normalization over the last axis; statistics in float32.

  The backward pass normalizes the input again, from its mean and variance. For
  the gradients of `nn.LayerNorm`, JAX would also store two float32 arrays of
  the size of the input, unless `model.remat` recomputes them.

  Attributes:
    dtype: Dtype of the results.
  """

  dtype: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Normalizes: [..., E] -> [..., E]."""
    ones, zeros = nn.initializers.ones_init(), nn.initializers.zeros_init()
    scale = self.param('scale', ones, x.shape[-1:], jnp.float32)
    bias = self.param('bias', zeros, x.shape[-1:], jnp.float32)
    return _normalize(x, scale, bias, jnp.dtype(self.dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _normalize(
    x: jax.Array, scale: jax.Array, bias: jax.Array, dtype: jnp.dtype
) -> jax.Array:
  return _forward(x, scale, bias, dtype)[0]


def _forward(x, scale, bias, dtype):
  x32 = x.astype(jnp.float32)
  mean = jnp.mean(x32, axis=-1, keepdims=True)
  centered = x32 - mean
  variance = jnp.mean(jnp.square(centered), axis=-1, keepdims=True)
  factor = jax.lax.rsqrt(variance + EPSILON)
  y = centered * (factor * _row(scale, x.ndim)) + _row(bias, x.ndim)
  return y.astype(dtype), (x, mean, factor, scale)


def _backward(dtype, saved, gradient):
  del dtype  # The gradient already has it.
  x, mean, factor, scale = saved
  normed = (x.astype(jnp.float32) - mean) * factor
  gradient = gradient.astype(jnp.float32)
  rows = tuple(range(x.ndim - 1))
  of_scale = jnp.sum(gradient * normed, rows)
  of_bias = jnp.sum(gradient, rows)
  gradient *= _row(scale, x.ndim)
  # Neither a shift nor a scale of the input changes the normalized rows.
  shift = jnp.mean(gradient, axis=-1, keepdims=True)
  growth = jnp.mean(gradient * normed, axis=-1, keepdims=True)
  of_x = factor * (gradient - shift - normed * growth)
  return of_x.astype(x.dtype), of_scale, of_bias


_normalize.defvjp(_forward, _backward)


def _row(x: jax.Array, ndim: int) -> jax.Array:
  """A vector as an array of `ndim` axes."""
  return x.reshape((1,) * (ndim - 1) + x.shape)
