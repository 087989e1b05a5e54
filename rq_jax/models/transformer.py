"""Transformer stacks for whole sequences; see `incremental` for single steps.

Pre-LayerNorm blocks as in GPT-2; no normalization follows the last block.
"""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from rq_jax.models import activations
from rq_jax.models import blocks
from rq_jax.models import layer_norm
from rq_jax.models import linear
from rq_jax.models import remat
from rq_jax.typing import PyTree

BlockFields = tuple[tuple[str, Any], ...]  # By name.

GELUS = {
    'exact': activations.gelu,
    'sigmoid': lambda x: x * nn.sigmoid(1.702 * x),
}


class Attention(nn.Module):
  """Multi-head self-attention.

  Attributes:
    width: Width of the model, E.
    heads: Number of attention heads, N.
    causal: Whether a position sees only itself and those before it. If not,
      every position sees all positions, and `incremental` cannot be used.
    use_bias: Whether all four projections have biases.
    dropout: Dropout rate on the attention weights.
    dtype: Dtype of the computation; the softmax is float32.
    gradient_dtype: See `linear.Projection`.
  """

  width: int
  heads: int
  causal: bool = True
  use_bias: bool = True
  dropout: float = 0.0
  dtype: str = 'float32'
  gradient_dtype: str | None = None

  def setup(self) -> None:
    """Builds one projection to queries, keys and values, and one to outputs."""
    head_dim = self.width // self.heads
    options: dict[str, Any] = dict(
        use_bias=self.use_bias,
        dtype=self.dtype,
        gradient_dtype=self.gradient_dtype,
    )
    self.query_key_value = linear.Projection(
        (self.width, 3, self.heads, head_dim),
        ('embed', None, 'heads', None),
        **options,
    )
    self.out = linear.Projection(
        (self.heads, head_dim, self.width),
        ('heads', None, 'embed'),
        summed=2,
        **options,
    )
    self.drop = blocks.Dropout(self.dropout)

  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Attends within whole sequences: [B, S, E] -> [B, S, E]."""
    projected = self.project(x)
    q, k, v = (projected[:, :, i] for i in range(3))
    position = jnp.arange(x.shape[1], dtype=jnp.int32)
    visible = position[None, :] <= position[:, None]
    if not self.causal:
      visible = jnp.ones_like(visible)
    scores = score('bqnh,bknh->bnqk', q, k * self._scale)
    weights = self.drop(weigh(scores, visible), train=train)
    return self.out(jnp.einsum('bnqk,bknh->bqnh', weights.astype(v.dtype), v))

  def project(self, x: jax.Array) -> jax.Array:
    """Queries, keys and values of positions: [B, S, E] -> [B, S, 3, N, E/N]."""
    return self.query_key_value(x)

  @property
  def _scale(self) -> float:
    return (self.width // self.heads) ** -0.5


def score(product: str, q: jax.Array, k: jax.Array) -> jax.Array:
  """Products of queries and keys, in float32 for inputs of any dtype."""
  return jnp.einsum(product, q, k, preferred_element_type=jnp.float32)


def weigh(scores: jax.Array, visible: jax.Array) -> jax.Array:
  """Attention weights from scores float32[B, N, S', S] and bool[S', S]."""
  lowest = jnp.finfo(jnp.float32).min
  return nn.softmax(jnp.where(visible, scores, lowest))


class Block(nn.Module):
  """Attention and an MLP, each with a norm before it and a residual connection.

  Attributes:
    width: Width of the model, E.
    heads: Number of attention heads, N.
    mlp_width: Width of the MLP, M; None for 4 E.
    causal: Whether attention is causal; see `Attention`.
    attention_bias: Whether the projections of the attention have biases.
    mlp_bias: Whether the layers of the MLP have biases.
    gelu: 'exact', or 'sigmoid' for x * sigmoid(1.702 x).
    dropout: Dropout rate after the attention and after the MLP.
    attention_dropout: Dropout rate on the attention weights.
    dtype: Dtype of the computation; statistics and softmax are float32.
    gradient_dtype: See `linear.Projection`.
  """

  width: int
  heads: int
  mlp_width: int | None = None
  causal: bool = True
  attention_bias: bool = True
  mlp_bias: bool = True
  gelu: str = 'exact'
  dropout: float = 0.0
  attention_dropout: float = 0.0
  dtype: str = 'float32'
  gradient_dtype: str | None = None

  def setup(self) -> None:
    """Builds the attention and the MLP, with a norm before each."""
    self.norm1 = layer_norm.LayerNorm(self.dtype)
    self.attention = Attention(
        self.width,
        self.heads,
        causal=self.causal,
        use_bias=self.attention_bias,
        dropout=self.attention_dropout,
        dtype=self.dtype,
        gradient_dtype=self.gradient_dtype,
    )
    self.norm2 = layer_norm.LayerNorm(self.dtype)
    hidden = self.mlp_width or 4 * self.width
    options: dict[str, Any] = dict(
        use_bias=self.mlp_bias,
        dtype=self.dtype,
        gradient_dtype=self.gradient_dtype,
    )
    self.mlp_in = linear.Projection(
        (self.width, hidden), ('embed', 'mlp'), **options
    )
    self.mlp_out = linear.Projection(
        (hidden, self.width), ('mlp', 'embed'), **options
    )
    self.drop = blocks.Dropout(self.dropout)

  def __call__(
      self, x: jax.Array, train: bool = False
  ) -> tuple[jax.Array, None]:
    """Refines whole sequences: [B, S, E] -> [B, S, E], and None for `scan`."""
    attended = self.attention(self.norm1(x), train)
    x = x + self.drop(attended, train=train)
    x = x + self.drop(self.mlp(x), train=train)
    x = nn.spmd.with_logical_constraint(x, ('batch', 'position', 'activation'))
    return x, None

  def mlp(self, x: jax.Array, gelu_dtype: str | None = None) -> jax.Array:
    """The MLP with the norm before it: [B, S, E] -> [B, S, E].

    Args:
      x: Its inputs.
      gelu_dtype: Dtype in which to compute the activation; `dtype` if None.
    """
    hidden = self.mlp_in(self.norm2(x))
    activated = GELUS[self.gelu](hidden.astype(gelu_dtype or self.dtype))
    return self.mlp_out(activated)  # It casts its inputs.


class Stack(nn.Module):
  """Blocks one after the other, with parameters stacked on the first axis.

  Attributes:
    layers: Number of blocks, L.
    block: Fields of `Block`, as pairs (name, value).
    remat: What training recomputes of each block in the backward pass; see
      `remat.block`.
  """

  layers: int
  block: BlockFields
  remat: str = 'none'

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    """Refines whole sequences: [B, S, E] -> [B, S, E]."""
    if self.layers == 0:
      return x
    block = Block
    if train:
      block = remat.block(block, self.remat, scanned=True)
    scanned = nn.scan(
        block,
        variable_axes={'params': 0},
        split_rngs={'params': True, 'dropout': True},
        in_axes=cast(Any, (nn.broadcast,)),  # Flax does not annotate it.
        length=self.layers,
        metadata_params={nn.PARTITION_NAME: 'layers'},
    )
    x, _ = scanned(**dict(self.block), name='layers')(x, train)
    return x


def unstack(params: PyTree, layers: int) -> list[PyTree]:
  """Splits the parameters of a `Stack` into those of each block."""
  return [
      jax.tree.map(lambda p, i=i: p[i], params['layers']) for i in range(layers)
  ]
