"""Encoder and decoder of the RQ-VAE (Section 3.1, and Table 9 for the sizes).

Both consist of the same levels, one per resolution; level 0 is the full
resolution. The decoder goes through the levels in reverse order and has one
more residual block in each.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax

from rq_jax.config import sizes
from rq_jax.models import blocks
from rq_jax.models import remat


class _Network(nn.Module):
  """Fields and layers that the encoder and the decoder share.

  Attributes:
    image_size: Size of the image, in pixels.
    channels: Channels of level 0, before its multiplier.
    channel_multipliers: Channels of each level, in multiples of `channels`.
    res_blocks: Residual blocks in each level of the encoder.
    attention_resolutions: Shorter sides of the feature maps that attention is
      used on.
    norm_groups: Groups of every group normalization.
    dropout: Dropout rate in the residual blocks.
    remat: What the backward pass recomputes of residual blocks; see
      `remat.block`.
    dtype: Dtype of the computation.
  """

  image_size: sizes.ImageSize
  channels: int
  channel_multipliers: Sequence[int]
  res_blocks: Sequence[int]
  attention_resolutions: Sequence[int] = ()
  norm_groups: int = 32
  dropout: float = 0.0
  remat: str = 'none'
  dtype: str = 'float32'

  def _level_channels(self, level: int) -> int:
    return self.channels * self.channel_multipliers[level]

  def _attends(self, level: int) -> bool:
    shorter = min(sizes.pair(self.image_size))
    return shorter // 2**level in self.attention_resolutions

  def _res_block(self, x, level: int, name: str, train: bool) -> jax.Array:
    block = blocks.ResBlock
    if train:
      block = remat.block(block, self.remat, scanned=False)
    return block(
        self._level_channels(level),
        groups=self.norm_groups,
        dropout=self.dropout,
        dtype=self.dtype,
        name=name,
    )(x, train)

  def _attention(self, x, name: str) -> jax.Array:
    return blocks.AttentionBlock(self.norm_groups, self.dtype, name=name)(x)

  def _middle(self, x, train: bool) -> jax.Array:
    level = len(self.channel_multipliers) - 1
    x = self._res_block(x, level, 'mid_block_0', train)
    x = self._attention(x, 'mid_attention')
    return self._res_block(x, level, 'mid_block_1', train)

  def _norm_out(self, x) -> jax.Array:
    norm = blocks.GroupNorm(self.norm_groups, self.dtype, name='norm_out')
    return nn.silu(norm(x))


class Encoder(_Network):
  """Maps images to feature maps.

  Attributes:
    features: Channels of the output.
  """

  features: int = 256

  @nn.compact
  def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
    """Encodes images in [-1, 1]: [B, Y, X, 3] -> [B, H, W, features]."""
    x = blocks.Conv(self.channels, dtype=self.dtype, name='conv_in')(images)
    for level in range(len(self.channel_multipliers)):
      for i in range(self.res_blocks[level]):
        x = self._res_block(x, level, f'level_{level}_block_{i}', train)
        if self._attends(level):
          x = self._attention(x, f'level_{level}_attention_{i}')
      if level < len(self.channel_multipliers) - 1:
        x = blocks.Downsample(self.dtype, name=f'level_{level}_downsample')(x)
    x = self._norm_out(self._middle(x, train))
    return blocks.Conv(self.features, dtype=self.dtype, name='conv_out')(x)


class Decoder(_Network):
  """Maps feature maps to the input of the last convolution.

  The last convolution, which makes the image, is a separate layer, because the
  adaptive weight of stage 1 needs gradients of that layer.
  """

  @nn.compact
  def __call__(self, features: jax.Array, train: bool = False) -> jax.Array:
    """Decodes features: [B, H, W, C] -> [B, Y, X, channels of level 0]."""
    last = len(self.channel_multipliers) - 1
    x = blocks.Conv(
        self._level_channels(last), dtype=self.dtype, name='conv_in'
    )(features)
    x = self._middle(x, train)
    for level in range(last, -1, -1):
      for i in range(self.res_blocks[level] + 1):
        x = self._res_block(x, level, f'level_{level}_block_{i}', train)
        if self._attends(level):
          x = self._attention(x, f'level_{level}_attention_{i}')
      if level > 0:
        x = blocks.Upsample(self.dtype, name=f'level_{level}_upsample')(x)
    return self._norm_out(x)
