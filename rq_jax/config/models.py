"""Descriptions of the networks.

A description has the fields of the Flax module of the same name, which
`models.build` creates from it. Creating a description checks it, so every
description can be built.
"""

import dataclasses
from typing import Any

from rq_jax.config import fields
from rq_jax.config import model_rules
from rq_jax.config import schema
from rq_jax.config import sizes

_GELUS = ('exact', 'sigmoid')


# Fields that several networks share.


def _code_shape(**declared: Any) -> Any:
  return fields.field(
      (8, 8, 4), 'Height, width and depth of the code map.', above=0, **declared
  )


def _codebook_size(**declared: Any) -> Any:
  return fields.field(
      16384,
      'Codewords per codebook: one number for all depths, or one per depth.',
      above=0,
      **declared,
  )


def _remat(once_true: str) -> Any:
  return fields.field(
      'none',
      'What the backward pass computes again to save memory: nothing;'
      ' everything in a block except the results of convolutions and of'
      f' products with kernels; or whole blocks. True stands for {once_true!r},'
      " and False for 'none'.",
      choices=('none', 'products', 'full'), resumable=True,
      bools={True: once_true, False: 'none'},
  )  # fmt: skip


def _dtype() -> Any:
  return fields.field(
      'float32',
      'Data type of the computation; parameters are always float32, and float16'
      ' cannot be trained.',
      choices=('float32', 'bfloat16', 'float16'),
  )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RQVAEConfig(schema.Section, name='model'):
  """The description of an RQ-VAE; see `models.rqvae.RQVAE`."""

  image_size: sizes.ImageSize = fields.field(
      256,
      'Size of the images in pixels: the side of a square, or height and'
      ' width.',
      above=0,
  )
  channels: int = fields.field(
      128,
      'Channels of the convolutions at full resolution, before the multiplier.',
      above=0,
  )
  channel_multipliers: tuple[int, ...] = fields.field(
      (1, 1, 2, 2, 4, 4),
      'Channels of each level, in multiples of `channels`; each level after the'
      ' first halves the resolution.',
      above=0,
  )
  res_blocks: int | tuple[int, ...] = fields.field(
      2,
      'Residual blocks per level of the encoder: one number for all levels, or'
      ' one per level. The decoder has one more in each level.',
      at_least=0,
  )
  attention_resolutions: tuple[int, ...] = fields.field(
      (8,),
      'Resolutions (shorter sides of feature maps) at which levels have'
      ' self-attention.',
  )
  z_channels: int = fields.field(
      256,
      'Output channels of the encoder, before the projection to `embed_dim`.',
      above=0,
  )
  embed_dim: int = fields.field(
      256, 'Channels of the features that are quantized.', above=0
  )
  code_shape: tuple[int, int, int] = _code_shape()
  codebook_size: int | tuple[int, ...] = _codebook_size()
  shared_codebook: bool = fields.field(
      True, 'Whether all depths share one codebook.'
  )
  decay: float | tuple[float, ...] = fields.field(
      0.99,
      'Decay of the moving averages that update the codewords: one number for'
      ' all depths, or one per depth.',
      at_least=0, below=1,
  )  # fmt: skip
  codebook_update: str = fields.field(
      'step',
      "When codewords move: once per step, or after each depth ('depth'), as in"
      ' the official code.',
      choices=('step', 'depth'),
  )
  restart: str = fields.field(
      'relative',
      'How `restart_threshold` is measured: relative to the mean usage of'
      " codewords, or in uses per step. 'off' never restarts codewords.",
      choices=('relative', 'absolute', 'off'),
  )
  restart_threshold: float = fields.field(
      0.1,
      'Usage below which a codeword is restarted, that is, moved to features of'
      ' the current batch.',
      at_least=0,
  )
  norm_groups: int = fields.field(
      32, 'Number of groups of the group normalizations.', above=0
  )
  dropout: float = fields.field(
      0.0, 'Dropout rate in the residual blocks.', at_least=0, below=1
  )
  remat: str = _remat(once_true='full')
  dtype: str = _dtype()

  def __post_init__(self) -> None:
    super().__post_init__()
    model_rules.check_rqvae(self)

  @property
  def feature_map(self) -> tuple[int, int]:
    """Height and width of the encoder's output, in positions."""
    height, width = sizes.pair(self.image_size)
    factor = 2 ** (len(self.channel_multipliers) - 1)
    return height // factor, width // factor


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig(schema.Section, name='discriminator'):
  """The description of a discriminator.

  See `models.discriminator.PatchDiscriminator`.
  """

  channels: int = fields.field(
      64, 'Channels after the first convolution.', above=0
  )
  layers: int = fields.field(
      2, 'Number of convolutions that halve the resolution.', above=0
  )
  norm: str = fields.field(
      'batch', 'Normalization: BatchNorm or ActNorm.', choices=('batch', 'act')
  )
  dtype: str = _dtype()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RQTransformerConfig(schema.Section, name='model'):
  """The description of an RQ-Transformer.

  See `models.rqtransformer.RQTransformer`.
  """

  code_shape: tuple[int, int, int] = _code_shape(inherited=True)
  codebook_size: int | tuple[int, ...] = _codebook_size(inherited=True)
  embed_dim: int = fields.field(
      256, 'Channels of a codeword.', above=0, inherited=True
  )
  width: int = fields.field(1536, 'Width of both transformers.', above=0)
  heads: int = fields.field(24, 'Attention heads per block.', above=0)
  spatial_layers: int = fields.field(
      12, 'Number of blocks of the spatial transformer.', at_least=0
  )
  depth_layers: int = fields.field(
      4, 'Number of blocks of the depth transformer.', at_least=0
  )
  num_classes: int = fields.field(
      0, 'Number of classes of a class-conditional model; 0 for other models.',
      at_least=0, inherited=True,
  )  # fmt: skip
  text_vocab_size: int = fields.field(
      0,
      'Number of token ids of a text-conditional model; 0 for other models.',
      at_least=0,
  )
  text_length: int = fields.field(
      0,
      'Tokens per text of a text-conditional model; 0 for other models.',
      at_least=0,
  )
  null_class: bool = fields.field(
      False,
      'Whether the model has a null class, which guidance needs.',
      inherited=True,
  )
  spatial_input: str = fields.field(
      'codebook',
      'Input of the spatial transformer: codewords of the tokenizer, or learned'
      ' embeddings of the codes.',
      choices=('codebook', 'learned'),
  )
  depth_input: str = fields.field(
      'codebook',
      'Input of the depth transformer: codewords of the tokenizer, or learned'
      ' embeddings of the codes.',
      choices=('codebook', 'learned'),
  )
  shared_embedding: bool = fields.field(
      True, 'Whether all depths share one table of learned embeddings.'
  )
  cumulative_depth_input: bool = fields.field(
      True,
      'Whether the depth transformer reads the sum of the codewords so far'
      ' instead of only the last one.',
  )
  shared_classifier: bool = fields.field(
      True, 'Whether all depths share one classifier.'
  )
  attention_bias: bool = fields.field(
      True, 'Whether the projections of attention have biases.'
  )
  mlp_bias: bool = fields.field(
      True, 'Whether the layers of the MLPs have biases.'
  )
  gelu: str = fields.field(
      'exact',
      'How GELU is computed: exactly, or approximated with a sigmoid.',
      choices=_GELUS,
  )
  depth_gelu: str | None = fields.field(
      None,
      'How the depth transformer computes GELU; None uses the value of `gelu`.',
      choices=_GELUS,
  )
  dropout: float = fields.field(
      0.1, 'Dropout rate after attention and MLP.', at_least=0, below=1
  )
  attention_dropout: float = fields.field(
      0.0, 'Dropout rate of the attention weights.', at_least=0, below=1
  )
  embedding_dropout: float = fields.field(
      0.0, 'Dropout rate of the inputs of the spatial transformer.',
      at_least=0, below=1,
  )  # fmt: skip
  remat: str = _remat(once_true='products')
  dtype: str = _dtype()
  gradient_dtype: str | None = fields.field(
      None,
      'Data type of the gradients of both transformers, in which devices add'
      ' them up; None uses `dtype`.',
      choices=('float32',),
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    model_rules.check_rqtransformer(self)
