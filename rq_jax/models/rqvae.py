"""The RQ-VAE: encoder, residual quantizer, decoder (Section 3.1)."""

from collections.abc import Sequence

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from rq_jax.models import autoencoder
from rq_jax.models import blocks
from rq_jax.models import quantizer
from rq_jax.models.quantizer import Quantized


@flax.struct.dataclass
class Reconstruction:
  """What an RQ-VAE makes of images."""

  images: jax.Array  # float32[B, S, S, 3], about in [-1, 1].
  quantized: Quantized


class RQVAE(nn.Module):
  """Turns images into maps of code stacks, and back.

  Images are float32[B, S, S, 3] in [-1, 1]. The collection 'codebook' holds the
  codewords; they move by averaging, not by gradients.

  Attributes:
    image_size: Side of the image, S.
    channels: Channels at full resolution, before the multiplier.
    channel_multipliers: Channels of each level in multiples of `channels`; each
      level after the first halves the resolution.
    res_blocks: Residual blocks of each level of the encoder; a number, or one
      for each level. The decoder has one more.
    attention_resolutions: Sides of the maps whose levels attend.
    z_channels: Channels between encoder and quantizer.
    embed_dim: Channels of the feature map that is quantized, C.
    code_shape: h, w, D of the code map.
    codebook_size: Codewords, K; a number, or one for each depth.
    shared_codebook: Whether all depths use one codebook.
    decay: Of the codebook's moving averages; a number, or one for each depth.
    codebook_update: 'step' or 'depth', see `ResidualQuantizer`.
    restart: 'relative', 'absolute' or 'off', see `ResidualQuantizer`.
    restart_threshold: Usage under which a codeword is re-drawn.
    norm_groups: Groups of all normalizations.
    dropout: Rate inside the residual blocks.
    remat: Whether to recompute residual blocks in the backward pass.
    dtype: Of the convolutions; the quantizer is always float32.
  """

  image_size: int = 256
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
  remat: bool = False
  dtype: str = 'float32'

  def setup(self):
    levels = len(self.channel_multipliers)
    network = dict(
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
    side = self.image_size // 2 ** (len(self.channel_multipliers) - 1)
    return side, side, self.embed_dim

  @nn.nowrap
  def make_quantizer(self) -> quantizer.ResidualQuantizer:
    """The quantizer, described; its variables are under 'quantizer'."""
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
    hidden, quantized = self.hidden(images, train=train)
    return Reconstruction(self.last_layer(hidden), quantized)

  def hidden(
      self, images: jax.Array, *, train: bool = False
  ) -> tuple[jax.Array, Quantized]:
    """Reconstructs up to the input of the last layer, `last_layer`."""
    quantized = self.quantizer(self.features(images, train=train), train=train)
    return self._decoder_trunk(quantized.features, train), quantized

  def last_layer(self, hidden: jax.Array) -> jax.Array:
    """The decoder's last convolution: [B, S, S, C] -> float32[B, S, S, 3]."""
    return self.to_rgb(hidden).astype(jnp.float32)

  def features(self, images: jax.Array, *, train: bool = False) -> jax.Array:
    """Encodes images: [B, S, S, 3] -> float32[B, H, W, C], not quantized."""
    images = images.astype(jnp.dtype(self.dtype))
    features = self.to_features(self.encoder(images, train))
    return features.astype(jnp.float32)

  def quantize(self, features: jax.Array) -> Quantized:
    """Quantizes features: [B, H, W, C] -> codes, partial sums' loss, ..."""
    return self.quantizer(features)

  def decode(self, features: jax.Array) -> jax.Array:
    """Decodes features: float32[B, H, W, C] -> float32[B, S, S, 3]."""
    return self.last_layer(self._decoder_trunk(features, train=False))

  def embed(self, codes: jax.Array, *, depth: int | None = None) -> jax.Array:
    """Sums codewords: int32[B, h, w, D] -> float32[B, H, W, C].

    Args:
      codes: The code stacks; -1 stands for a code that is not there, and adds
        nothing.
      depth: How many codes of every stack to use, from the first; all of them
        if None.
    """
    words = self.quantizer.embed(codes)
    words = jnp.where(codes[..., None] >= 0, words, 0)[..., :depth, :]
    return self.quantizer.unfold(jnp.sum(words, axis=-2))

  def decode_codes(
      self, codes: jax.Array, *, depth: int | None = None
  ) -> jax.Array:
    """Decodes codes: int32[B, h, w, D] -> float32[B, S, S, 3]; see `embed`."""
    return self.decode(self.embed(codes, depth=depth))

  def codebooks(self) -> tuple[jax.Array, ...]:
    """Codewords, float32[K, C']: of the shared codebook, or of each depth."""
    return self.quantizer.codebooks()

  def _decoder_trunk(self, features: jax.Array, train: bool) -> jax.Array:
    features = features.astype(jnp.dtype(self.dtype))
    return self.decoder(self.from_features(features), train)
