"""What networks are made of: each description stands on its own.

Their fields are those of the Flax modules of the same name, which
`models.build` makes of them. A description that exists can be built.
"""

import dataclasses
from typing import Any

from rq_jax.config import fields
from rq_jax.config import model_rules
from rq_jax.config import schema

_GELUS = ('exact', 'sigmoid')


# Fields that several networks have.


def _code_shape() -> Any:
  return fields.field(
      (8, 8, 4), 'Height, width and depth of the code map.', above=0
  )


def _codebook_size() -> Any:
  return fields.field(
      16384, 'Codewords of the codebook, or of the codebook of each depth.',
      above=0,
  )  # fmt: skip


def _remat() -> Any:
  return fields.field(
      False, 'Whether to recompute activations in the backward pass.'
  )


def _dtype() -> Any:
  return fields.field(
      'float32', 'Type of the computation; parameters are float32.',
      choices=('float32', 'bfloat16', 'float16'),
  )  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class RQVAEConfig(schema.Section, name='model'):
  """An RQ-VAE; see `models.rqvae.RQVAE`."""

  image_size: int = fields.field(256, 'Side of the images, in pixels.', above=0)
  channels: int = fields.field(
      128, 'Channels of the convolutions at full resolution.', above=0
  )
  channel_multipliers: tuple[int, ...] = fields.field(
      (1, 1, 2, 2, 4, 4),
      'Channels of each level, in multiples of `channels`; every further level'
      ' halves the resolution.',
      above=0,
  )
  res_blocks: int | tuple[int, ...] = fields.field(
      2, 'Residual blocks of each level, or one number per level.', at_least=0
  )
  attention_resolutions: tuple[int, ...] = fields.field(
      (8,), 'Resolutions at which levels have self-attention.'
  )
  z_channels: int = fields.field(
      256, 'Channels at the end of the encoder.', above=0
  )
  embed_dim: int = fields.field(256, 'Channels of the features.', above=0)
  code_shape: tuple[int, int, int] = _code_shape()
  codebook_size: int | tuple[int, ...] = _codebook_size()
  shared_codebook: bool = fields.field(
      True, 'Whether all depths share one codebook.'
  )
  decay: float | tuple[float, ...] = fields.field(
      0.99, 'Decay of the averages that move the codewords, or one per depth.',
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
      'How `restart_threshold` is meant: as a share of the mean usage, as a'
      ' count, or not at all.',
      choices=('relative', 'absolute', 'off'),
  )
  restart_threshold: float = fields.field(
      0.1, 'Usage below which a codeword is drawn anew.', at_least=0
  )
  norm_groups: int = fields.field(
      32, 'Groups of the group normalization.', above=0
  )
  dropout: float = fields.field(
      0.0, 'Dropout in residual blocks.', at_least=0, below=1
  )
  remat: bool = _remat()
  dtype: str = _dtype()

  def __post_init__(self) -> None:
    super().__post_init__()
    model_rules.check_rqvae(self)

  @property
  def feature_map(self) -> int:
    """Side of the encoder's output, in positions."""
    return self.image_size // 2 ** (len(self.channel_multipliers) - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig(schema.Section, name='discriminator'):
  """A patch discriminator; see `models.discriminator.PatchDiscriminator`."""

  channels: int = fields.field(
      64, 'Channels after the first convolution.', above=0
  )
  layers: int = fields.field(
      2, 'Convolutions that halve the resolution.', above=0
  )
  norm: str = fields.field(
      'batch', 'Normalization: BatchNorm or ActNorm.', choices=('batch', 'act')
  )
  dtype: str = _dtype()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RQTransformerConfig(schema.Section, name='model'):
  """An RQ-Transformer; see `models.rqtransformer.RQTransformer`."""

  code_shape: tuple[int, int, int] = _code_shape()
  codebook_size: int | tuple[int, ...] = _codebook_size()
  embed_dim: int = fields.field(256, 'Channels of a codeword.', above=0)
  width: int = fields.field(1536, 'Width of both transformers.', above=0)
  heads: int = fields.field(24, 'Attention heads of each block.', above=0)
  spatial_layers: int = fields.field(
      12, 'Blocks of the spatial transformer.', at_least=0
  )
  depth_layers: int = fields.field(
      4, 'Blocks of the depth transformer.', at_least=0
  )
  num_classes: int = fields.field(
      0, 'Classes that condition the model; 0 for none.', at_least=0
  )
  text_vocab_size: int = fields.field(
      0, 'Token ids of the texts that condition the model; 0 for none.',
      at_least=0,
  )  # fmt: skip
  text_length: int = fields.field(
      0, 'Tokens of a text that conditions the model; 0 for none.', at_least=0
  )
  null_class: bool = fields.field(
      False, 'Whether there is a null condition, which guidance needs.'
  )
  spatial_input: str = fields.field(
      'codebook',
      'What the spatial transformer reads: codewords of the tokenizer or'
      ' embeddings of its own.',
      choices=('codebook', 'learned'),
  )
  depth_input: str = fields.field(
      'codebook',
      'What the depth transformer reads: codewords of the tokenizer or'
      ' embeddings of its own.',
      choices=('codebook', 'learned'),
  )
  shared_embedding: bool = fields.field(
      True, 'Whether all depths share their learned embeddings.'
  )
  cumulative_depth_input: bool = fields.field(
      True,
      'Whether the depth transformer reads sums of codewords, or the last one.',
  )
  shared_classifier: bool = fields.field(
      True, 'Whether all depths share the classifier.'
  )
  attention_bias: bool = fields.field(
      True, 'Whether the projections of attention have biases.'
  )
  mlp_bias: bool = fields.field(
      True, 'Whether the layers of the MLPs have biases.'
  )
  gelu: str = fields.field(
      'exact', 'How GELU is computed: exactly, or by a sigmoid.', choices=_GELUS
  )
  depth_gelu: str | None = fields.field(
      None,
      'GELU of the depth transformer; None for that of `gelu`.',
      choices=_GELUS,
  )
  dropout: float = fields.field(
      0.1, 'Dropout behind attention and MLP.', at_least=0, below=1
  )
  attention_dropout: float = fields.field(
      0.0, 'Dropout of attention weights.', at_least=0, below=1
  )
  embedding_dropout: float = fields.field(
      0.0, 'Dropout of inputs of the spatial transformer.', at_least=0, below=1
  )
  remat: bool = _remat()
  dtype: str = _dtype()

  def __post_init__(self) -> None:
    super().__post_init__()
    model_rules.check_rqtransformer(self)
