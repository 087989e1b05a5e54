"""The patch discriminator of stage 1 (pix2pix, Isola et al., CVPR 2017).

Feature maps are [B, H, W, C]. In training, both normalizations update the
collection `'batch_stats'`, so make it mutable then. Statistics are those of the
global batch, however a mesh splits it.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rq_jax.models import blocks


class PatchDiscriminator(nn.Module):
  """Scores how real each patch of an image looks.

  Attributes:
    channels: Channels after the first convolution. Each further convolution
      doubles them, up to eight times this number.
    layers: Number of convolutions that halve the resolution. Two more follow,
      each of which removes one row and one column.
    norm: Normalization after every convolution except the first and the last:
      'batch' or 'act'.
    dtype: Dtype of the computation; parameters and statistics are float32.
  """

  channels: int = 64
  layers: int = 2
  norm: str = 'batch'
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
    """Scores patches: float[B, Y, X, 3] in [-1, 1] -> float32[B, h, w, 1].

    Args:
      images: Either real or generated images, never both in one batch: in
        training, they are normalized with the statistics of the batch.
      train: Whether to normalize with the statistics of this batch and update
        `'batch_stats'` (with 'act': whether to fit it to the first batch).

    Returns:
      Logits, positive for patches that look real.

    Raises:
      ValueError: If `norm` is unknown.
    """
    if self.norm not in ('batch', 'act'):
      raise ValueError(
          f"config.discriminator.norm={self.norm!r} must be 'batch' or 'act'."
          ' Change --config.discriminator.norm.'
      )
    x = nn.leaky_relu(self._conv(images, self.channels, 2, 0), 0.2)
    for i in range(1, self.layers + 1):
      stride = 2 if i < self.layers else 1
      x = self._conv(x, self.channels * min(2**i, 8), stride, i)
      norm = BatchNorm if self.norm == 'batch' else ActNorm
      x = norm(name=f'norm_{i}')(x, train=train)
      x = nn.leaky_relu(x, 0.2)
    return self._conv(x, 1, 1, self.layers + 1).astype(jnp.float32)

  def _conv(self, x, features, stride, index):
    inner = 0 < index <= self.layers
    return nn.Conv(
        features,
        (4, 4),
        strides=stride,
        padding=1,
        # BatchNorm would subtract the bias again.
        use_bias=not (inner and self.norm == 'batch'),
        dtype=jnp.dtype(self.dtype),
        kernel_init=nn.with_logical_partitioning(
            nn.initializers.normal(0.02), (None, None, 'conv_in', 'conv_out')
        ),
        bias_init=blocks.torch_bias_init(x.shape[-1] * 4**2),
        name=f'conv_{index}',
    )(x)


class BatchNorm(nn.Module):
  """Batch normalization with PyTorch's running statistics.

  `nn.BatchNorm` averages the biased variance; PyTorch, the unbiased one.

  Attributes:
    momentum: Weight of the new batch in the running statistics.
    epsilon: Added to the variance.
  """

  momentum: float = 0.1
  epsilon: float = 1e-5

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Normalizes channels: [B, H, W, C] -> [B, H, W, C], of the same dtype."""
    shape, dtype = x.shape[-1:], jnp.float32
    scale = self.param('scale', _normal_around_one, shape, dtype)
    bias = self.param('bias', nn.initializers.zeros, shape, dtype)
    mean = self.variable('batch_stats', 'mean', jnp.zeros, shape, dtype)
    var = self.variable('batch_stats', 'var', jnp.ones, shape, dtype)
    batch_mean, batch_var = mean.value, var.value
    if train:
      batch_mean, batch_var = _statistics(x)
      if self._moves():
        n = x.size // x.shape[-1]
        unbiased = batch_var * (n / (n - 1))
        mean.value += self.momentum * (batch_mean - mean.value)
        var.value += self.momentum * (unbiased - var.value)
    factor = scale * jax.lax.rsqrt(batch_var + self.epsilon)
    y = (x.astype(jnp.float32) - _over_maps(batch_mean)) * _over_maps(factor)
    return (y + _over_maps(bias)).astype(x.dtype)

  def _moves(self):
    return not self.is_initializing() and self.is_mutable_collection(
        'batch_stats'
    )


class ActNorm(nn.Module):
  """Shift and scale, initialized so that the first batch comes out normalized.

  (Glow, Kingma & Dhariwal, NeurIPS 2018.) The initial values are kept in
  `'batch_stats'`; the parameters hold what training adds to them. In the
  official module, the parameters are the sums. Both learn alike, because Adam's
  steps do not depend on where a parameter starts; but here, no parameter has to
  be initialized from data.
  """

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Shifts and scales: [B, H, W, C] -> [B, H, W, C], of the same dtype."""
    shape, dtype = x.shape[-1:], jnp.float32
    shift = self.param('shift', nn.initializers.zeros, shape, dtype)
    scale = self.param('scale', nn.initializers.zeros, shape, dtype)
    start_shift = self.variable('batch_stats', 'shift', jnp.zeros, shape, dtype)
    start_scale = self.variable('batch_stats', 'scale', jnp.ones, shape, dtype)
    fitted = self.variable('batch_stats', 'fitted', jnp.zeros, (), bool)
    start = start_shift.value, start_scale.value
    if train and not self.is_initializing():
      start = jax.lax.cond(fitted.value, lambda: start, lambda: _fit(x))
      start = jax.lax.stop_gradient(start)
      if self.is_mutable_collection('batch_stats'):
        start_shift.value, start_scale.value = start
        fitted.value = jnp.ones((), bool)
    shift, scale = start[0] + shift, start[1] + scale
    y = _over_maps(scale) * (x.astype(jnp.float32) + _over_maps(shift))
    return y.astype(x.dtype)


def _fit(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  mean, var = _statistics(x)
  n = x.size // x.shape[-1]
  return -mean, 1 / (jnp.sqrt(var * (n / (n - 1))) + 1e-6)


def _statistics(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Mean and biased variance of channels: [B, H, W, C] -> float32[C] twice."""
  x = x.astype(jnp.float32)
  return jnp.mean(x, axis=(0, 1, 2)), jnp.var(x, axis=(0, 1, 2))


def _over_maps(x: jax.Array) -> jax.Array:
  return x[None, None, None]


def _normal_around_one(key, shape, dtype):
  return 1 + 0.02 * jax.random.normal(key, shape, dtype)
