"""Convolutional building blocks of the RQ-VAE (taming-transformers family).

All feature maps are [B, H, W, C]. Kernels and biases start as in PyTorch, which
the official model relies on: uniform in +-1/sqrt(fan_in).
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from rq_jax.models import bernoulli
from rq_jax.models import upsampling


def torch_kernel_init(summed: int, ndim: int) -> nn.initializers.Initializer:
  """Initializer of a kernel, uniform in +-1/sqrt(fan_in).

  Args:
    summed: Number of leading axes that are summed over.
    ndim: Total number of axes.
  """
  return nn.initializers.variance_scaling(
      1 / 3,  # The variance of a uniform number in +-1.
      'fan_in',
      'uniform',
      in_axis=tuple(range(summed)),
      out_axis=tuple(range(summed, ndim)),
  )


def torch_bias_init(fan_in: int) -> nn.initializers.Initializer:
  """Initializer of a bias, uniform in +-1/sqrt(fan_in)."""
  bound = 1 / math.sqrt(fan_in)

  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


class Conv(nn.Module):
  """A convolution with PyTorch's initial weights and named kernel axes.

  Attributes:
    features: Output channels.
    kernel_size: Side of the square kernel.
    stride: Stride of the kernel.
    padding: Zeros before and after each axis of the map, or 'SAME'.
    dtype: Dtype of the computation; parameters are float32.
    doubled: Whether to convolve the map at twice its resolution, by nearest
      neighbours; only for kernels of side 3.
  """

  features: int
  kernel_size: int = 3
  stride: int = 1
  padding: str | tuple[int, int] = 'SAME'
  dtype: str = 'float32'
  doubled: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Convolves: [B, H, W, C] -> [B, H', W', features]."""
    padding = self.padding
    convolve = None
    if (self.kernel_size, self.stride) == (1, 1):
      convolve = _convolve_pointwise
    elif self.doubled:
      convolve = _convolve_doubled
    return nn.Conv(
        self.features,
        (self.kernel_size, self.kernel_size),
        strides=self.stride,
        padding=padding if isinstance(padding, str) else (padding, padding),
        dtype=jnp.dtype(self.dtype),
        kernel_init=nn.with_logical_partitioning(
            torch_kernel_init(3, 4), (None, None, 'conv_in', 'conv_out')
        ),
        bias_init=torch_bias_init(x.shape[-1] * self.kernel_size**2),
        conv_general_dilated=convolve,
        name='conv',
    )(x)


def _convolve_pointwise(x: jax.Array, kernel: jax.Array, *_, **__) -> jax.Array:
  """A 1x1 convolution: [B, H, W, C], [1, 1, C, F] -> [B, H, W, F].

  On a GPU it is a matrix product. Libraries for convolutions would need the
  kernel with its outputs first, and return the gradient in that order.
  """

  def product(x, kernel):
    return x @ kernel[0, 0]

  def convolution(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )

  return jax.lax.platform_dependent(
      x, kernel, cuda=product, rocm=product, default=convolution
  )


def _convolve_doubled(x: jax.Array, kernel: jax.Array, *_, **__) -> jax.Array:
  return upsampling.convolve(x, kernel)


class GroupNorm(nn.Module):
  """Group normalization with the official epsilon; statistics in float32."""

  groups: int = 32
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Normalizes [B, H, W, C] within each group of channels."""
    scale, bias = _ScaleAndBias(x.shape[-1], name='norm')()
    x = x.astype(jnp.float32)
    x = x - _group_mean(x, self.groups)
    factor = jax.lax.rsqrt(_group_mean(jnp.square(x), self.groups) + 1e-6)
    return (x * (factor * scale) + bias).astype(jnp.dtype(self.dtype))


class _ScaleAndBias(nn.Module):
  """Parameters of a normalization, each float32[1, 1, 1, channels]."""

  channels: int

  @nn.compact
  def __call__(self) -> list[jax.Array]:
    ones, zeros = nn.initializers.ones_init(), nn.initializers.zeros_init()
    return [
        self.param(name, init, (self.channels,), jnp.float32)[None, None, None]
        for name, init in (('scale', ones), ('bias', zeros))
    ]


def _group_mean(x: jax.Array, groups: int) -> jax.Array:
  """Mean of each group of channels: [B, H, W, C] -> [B, 1, 1, C].

  The sums over positions keep the channels, which lie side by side in memory.
  Sums over positions and groups at once take CPUs three times as long.
  """
  batch, _, _, channels = x.shape
  means = jnp.mean(x, axis=(1, 2)).reshape(batch, groups, channels // groups)
  means = jnp.mean(means, axis=-1, keepdims=True)
  return jnp.repeat(means, channels // groups, axis=-1).reshape(
      batch, 1, 1, channels
  )


class Dropout(nn.Module):
  """Sets numbers to 0 at random and scales up the others.

  Unlike `nn.Dropout`, it draws the same numbers with and without
  JAX_ENABLE_X64.

  Attributes:
    rate: Fraction of the numbers that become 0, in [0, 1).
  """

  rate: float

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Drops numbers in training: [...] -> [...]; needs rng stream 'dropout'."""
    if not (train and self.rate):
      return x
    rate_kept = 1 - self.rate
    kept = bernoulli.draw(self.make_rng('dropout'), rate_kept, x.shape)
    return jnp.where(kept, x / rate_kept, 0)


class ResBlock(nn.Module):
  """Two convolutions, a norm before each, with a residual connection.

  Attributes:
    features: Output channels. If the input has a different number, a 1x1
      convolution adapts the shortcut.
    groups: Groups of the normalizations.
    dropout: Dropout rate before the second convolution.
    dtype: Dtype of the computation.
  """

  features: int
  groups: int = 32
  dropout: float = 0.0
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Refines a map: [B, H, W, C] -> [B, H, W, features]."""
    h = nn.silu(GroupNorm(self.groups, self.dtype, name='norm1')(x))
    h = Conv(self.features, dtype=self.dtype, name='conv1')(h)
    h = nn.silu(GroupNorm(self.groups, self.dtype, name='norm2')(h))
    h = Dropout(self.dropout)(h, train=train)
    h = Conv(self.features, dtype=self.dtype, name='conv2')(h)
    if x.shape[-1] != self.features:
      x = Conv(self.features, 1, dtype=self.dtype, name='shortcut')(x)
    return x + h


class AttentionBlock(nn.Module):
  """Single-head self-attention over all positions of a feature map."""

  groups: int = 32
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Mixes positions: [B, H, W, C] -> [B, H, W, C]."""
    b, h, w, c = x.shape
    normed = GroupNorm(self.groups, self.dtype, name='norm')(x)
    q, k, v = (
        Conv(c, 1, dtype=self.dtype, name=name)(normed).reshape(b, h * w, c)
        for name in ('query', 'key', 'value')
    )
    scores = jnp.einsum('bqc,bkc->bqk', q, k) * c**-0.5  # [B, T, T]
    weights = nn.softmax(scores.astype(jnp.float32)).astype(v.dtype)
    mixed = jnp.einsum('bqk,bkc->bqc', weights, v).reshape(b, h, w, c)
    return x + Conv(c, 1, dtype=self.dtype, name='out')(mixed)


class Downsample(nn.Module):
  """Halves the resolution with a strided convolution."""

  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Halves a map: [B, H, W, C] -> [B, H/2, W/2, C]."""
    # Zeros only at the right and the bottom, as in the official model.
    return Conv(
        x.shape[-1], stride=2, padding=(0, 1), dtype=self.dtype, name='conv'
    )(x)


class Upsample(nn.Module):
  """Doubles the resolution: nearest neighbours, then a convolution."""

  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Doubles a map: [B, H, W, C] -> [B, 2H, 2W, C]."""
    conv = Conv(x.shape[-1], dtype=self.dtype, doubled=True, name='conv')
    return conv(x)
