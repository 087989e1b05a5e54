"""The RQ-VAE: encoder, residual quantizer, decoder (Section 3.1)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from rq_jax.config import sizes
from rq_jax.models import autoencoder
from rq_jax.models import blocks
from rq_jax.models import module
from rq_jax.models import quantizer
from rq_jax.models.quantizer import Quantized


@flax.struct.dataclass
class Reconstruction:
  """Images as an RQ-VAE reconstructs them, and their quantized features."""

  images: jax.Array  # float32[B, Y, X, 3], roughly in [-1, 1].
  quantized: Quantized


class RQVAE(module.Module):
  """Turns images into maps of code stacks, and back.

  Images are float32[B, Y, X, 3] in [-1, 1]. The collection 'codebook' holds the
  codewords; moving averages update them, not gradients.

  Attributes:
    image_size: Size of the image in pixels, Y, X; or one number for squares.
    channels: Channels at full resolution, before the multiplier.
    channel_multipliers: Channels of each level in multiples of `channels`; each
      level after the first halves the resolution.
    res_blocks: Residual blocks in each level of the encoder; one number, or one
      for each level. Each level of the decoder has one more.
    attention_resolutions: Shorter sides of the feature maps that attention is
      used on.
    z_channels: Channels between encoder and quantizer.
    embed_dim: Channels of the feature map that is quantized, C.
    code_shape: h, w, D of the code map.
    codebook_size: Number of codewords, K; one number, or one for each depth.
    shared_codebook: Whether all depths use one codebook.
    decay: Decay of the codebook's moving averages; one number, or one for each
      depth.
    codebook_update: 'step' or 'depth', see `ResidualQuantizer`.
    restart: 'relative', 'absolute' or 'off', see `ResidualQuantizer`.
    restart_threshold: Usage below which a codeword is replaced.
    norm_groups: Groups of every group normalization.
    dropout: Dropout rate in the residual blocks.
    remat: What the backward pass recomputes of residual blocks; see
      `remat.block`.
    dtype: Dtype of the convolutions; the quantizer always computes in float32.
  """

  image_size: sizes.ImageSize = 256
  channels: int = 128
  channel_multipliers: Sequence[int] = (1, 1, 2, 2, 4, 4)
  res_blocks: int | Sequence[int] = 2
  attention_resolutions: Sequence[int] = (8,)
  z_channels: int = 256
  embed_dim: int = 256
  code_shape: tuple[int, int, int] = (8, 8, 4)
  codebook_size: int | Sequence[int] = 16384
  shared_codebook: bool = True
  decay: float | Sequence[float] = 0.99
  codebook_update: str = 'step'
  restart: str = 'relative'
  restart_threshold: float = 0.1
  norm_groups: int = 32
  dropout: float = 0.0
  remat: str = 'none'
  dtype: str = 'float32'

  def setup(self) -> None:
    """Builds encoder, quantizer and decoder."""
    levels = len(self.channel_multipliers)
    network: dict[str, Any] = dict(
        image_size=self.image_size,
        channels=self.channels,
        channel_multipliers=self.channel_multipliers,
        res_blocks=(
            (self.res_blocks,) * levels
            if isinstance(self.res_blocks, int)
            else self.res_blocks
        ),
        attention_resolutions=self.attention_resolutions,
        norm_groups=self.norm_groups,
        dropout=self.dropout,
        remat=self.remat,
        dtype=self.dtype,
    )
    self.encoder = autoencoder.Encoder(**network, features=self.z_channels)
    self.to_features = blocks.Conv(self.embed_dim, 1, dtype=self.dtype)
    self.quantizer = self.make_quantizer()
    self.from_features = blocks.Conv(self.z_channels, 1, dtype=self.dtype)
    self.decoder = autoencoder.Decoder(**network)
    self.to_rgb = blocks.Conv(3, dtype=self.dtype)

  @property
  def features_shape(self) -> tuple[int, int, int]:
    """H, W, C of the feature map."""
    height, width = sizes.pair(self.image_size)
    factor = 2 ** (len(self.channel_multipliers) - 1)
    return height // factor, width // factor, self.embed_dim

  @nn.nowrap
  def make_quantizer(self) -> quantizer.ResidualQuantizer:
    """Makes the quantizer; its variables are stored under 'quantizer'."""
    return quantizer.ResidualQuantizer(
        features_shape=self.features_shape,
        code_shape=self.code_shape,
        codebook_size=self.codebook_size,
        shared_codebook=self.shared_codebook,
        decay=self.decay,
        codebook_update=self.codebook_update,
        restart=self.restart,
        restart_threshold=self.restart_threshold,
    )

  def __call__(
      self, images: jax.Array, *, train: bool = False
  ) -> Reconstruction:
    """Reconstructs images; in training, also moves the codebook."""
    hidden, quantized, _ = self.hidden(images, train=train)
    return Reconstruction(self.last_layer(hidden), quantized)

  def hidden(
      self, images: jax.Array, *, train: bool = False
  ) -> tuple[jax.Array, Quantized, jax.Array]:
    """Reconstructs images up to the input of `last_layer`.

    Returns:
      The input of `last_layer`, the quantized features, and the features before
      quantization.
    """
    features = self.features(images, train=train)
    quantized = self.quantizer(features, train=train)
    hidden = self._decoder_trunk(quantized.features, train)
    return hidden, quantized, features

  def last_layer(self, hidden: jax.Array) -> jax.Array:
    """The decoder's last convolution: [B, Y, X, C] -> float32[B, Y, X, 3]."""
    return self.to_rgb(hidden).astype(jnp.float32)

  def features(self, images: jax.Array, *, train: bool = False) -> jax.Array:
    """Encodes images: [B, Y, X, 3] -> float32[B, H, W, C], not quantized."""
    images = images.astype(jnp.dtype(self.dtype))
    features = self.to_features(self.encoder(images, train))
    return features.astype(jnp.float32)

  def quantize(self, features: jax.Array, *, train: bool = False) -> Quantized:
    """Quantizes features float32[B, H, W, C]; see `ResidualQuantizer`."""
    return self.quantizer(features, train=train)

  def decode(self, features: jax.Array) -> jax.Array:
    """Decodes features: float32[B, H, W, C] -> float32[B, Y, X, 3]."""
    return self.last_layer(self._decoder_trunk(features, train=False))

  def embed(
      self, codes: jax.Array, *, depth: int | jax.Array | None = None
  ) -> jax.Array:
    """Sums codewords: int32[B, h, w, D] -> float32[B, H, W, C].

    Args:
      codes: The code stacks; -1 marks a missing code, which adds nothing.
      depth: How many codes of every stack to use, starting with the first, as
        an int or int32[]; None for all of them. With an array, a loop over
        depths compiles one decoder.
    """
    words = self.quantizer.embed(codes)
    used = codes >= 0
    if depth is not None:
      index = jnp.arange(codes.shape[-1], dtype=jnp.int32)
      used &= jnp.broadcast_to(index < depth, used.shape)
    words = jnp.where(used[..., None], words, 0)
    return self.quantizer.unfold(jnp.sum(words, axis=-2))

  def decode_codes(
      self, codes: jax.Array, *, depth: int | jax.Array | None = None
  ) -> jax.Array:
    """Decodes codes: int32[B, h, w, D] -> float32[B, Y, X, 3]; see `embed`."""
    return self.decode(self.embed(codes, depth=depth))

  def codebooks(self) -> tuple[jax.Array, ...]:
    """Codewords, float32[K, C']: one array if shared, else one per depth."""
    return self.quantizer.codebooks()

  def _decoder_trunk(self, features: jax.Array, train: bool) -> jax.Array:
    features = features.astype(jnp.dtype(self.dtype))
    return self.decoder(self.from_features(features), train)
