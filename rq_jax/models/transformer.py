"""Transformer stacks, for whole sequences or, if causal, step by step.

Pre-LayerNorm blocks as in GPT-2; no normalization follows the last block.
"""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from rq_jax.models import blocks
from rq_jax.models import linear
from rq_jax.models import remat
from rq_jax.typing import PyTree

# Keys and values of one layer, each [B, N, S, E/N]: grouped by head.
Cache = tuple[jax.Array, jax.Array]
BlockFields = tuple[tuple[str, Any], ...]  # By name.

GELUS = {
    'exact': lambda x: nn.gelu(x, approximate=False),
    'sigmoid': lambda x: x * nn.sigmoid(1.702 * x),
}


class Attention(nn.Module):
  """Multi-head self-attention.

  Attributes:
    width: Width of the model, E.
    heads: Number of attention heads, N.
    causal: Whether a position sees only itself and those before it. If not,
      every position sees all positions, and `extend` cannot be used.
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
    q, k, v = self._split(x)
    position = jnp.arange(x.shape[1], dtype=jnp.int32)
    visible = position[None, :] <= position[:, None]
    if not self.causal:
      visible = jnp.ones_like(visible)
    scores = _scores('bqnh,bknh->bnqk', q, k * self._scale)
    weights = self.drop(_softmax(scores, visible), train=train)
    return self.out(jnp.einsum('bnqk,bknh->bqnh', weights.astype(v.dtype), v))

  def extend(
      self, x: jax.Array, cache: Cache, start: jax.Array | int
  ) -> tuple[jax.Array, Cache]:
    """Adds new positions from `start` on; each attends to all up to itself.

    Args:
      x: The new positions, [B, S', E].
      cache: Keys and values of the sequence, each [B, N, S, E/N].
      start: Index of the first new position. If it is an int, known when the
        program is compiled, the cache behind the new positions is not read.

    Returns:
      The output, [B, S', E], and the cache with the new positions added.
    """
    q, *new = (jnp.swapaxes(part, 1, 2) for part in self._split(x))
    all_k, all_v = (
        jax.lax.dynamic_update_slice_in_dim(old, part, start, axis=2)
        for old, part in zip(cache, new, strict=True)
    )
    stop = start + x.shape[1] if isinstance(start, int) else None
    k, v = all_k[:, :, :stop], all_v[:, :, :stop]
    queries = start + jnp.arange(x.shape[1], dtype=jnp.int32)[:, None]
    keys = jnp.arange(k.shape[2], dtype=jnp.int32)[None, :]
    visible = keys <= queries  # [S', S]
    scores = _scores('bnqh,bnkh->bnqk', q * self._scale, k)
    weights = _softmax(scores, visible).astype(v.dtype)
    return self.out(jnp.einsum('bnqk,bnkh->bqnh', weights, v)), (all_k, all_v)

  def _split(self, x: jax.Array) -> list[jax.Array]:
    projected = self.query_key_value(x)  # [B, S, 3, N, E/N]
    return [projected[:, :, i] for i in range(3)]

  @property
  def _scale(self) -> float:
    return (self.width // self.heads) ** -0.5


def _scores(product: str, q: jax.Array, k: jax.Array) -> jax.Array:
  """Products of queries and keys, in float32 for inputs of any dtype."""
  return jnp.einsum(product, q, k, preferred_element_type=jnp.float32)


def _softmax(scores: jax.Array, visible: jax.Array) -> jax.Array:
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
    self.norm1 = layer_norm(self.dtype)
    self.attention = Attention(
        self.width,
        self.heads,
        causal=self.causal,
        use_bias=self.attention_bias,
        dropout=self.attention_dropout,
        dtype=self.dtype,
        gradient_dtype=self.gradient_dtype,
    )
    self.norm2 = layer_norm(self.dtype)
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
    x = x + self.drop(self._mlp(x), train=train)
    x = nn.spmd.with_logical_constraint(x, ('batch', 'position', 'activation'))
    return x, None

  def extend(
      self, x: jax.Array, cache: Cache, start: jax.Array | int
  ) -> tuple[jax.Array, Cache]:
    """Refines new positions of sequences; see `Attention.extend`."""
    attended, cache = self.attention.extend(self.norm1(x), cache, start)
    x = x + attended
    return x + self._mlp(x), cache

  def _mlp(self, x: jax.Array) -> jax.Array:
    return self.mlp_out(GELUS[self.gelu](self.mlp_in(self.norm2(x))))


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

  @nn.nowrap
  def empty_caches(self, batch: int, length: int) -> list[Cache]:
    """Empty caches for sequences of `length` positions, one per layer."""
    block = Block(**dict(self.block))
    shape = (batch, block.heads, length, block.width // block.heads)
    zeros = jnp.zeros(shape, jnp.dtype(block.dtype))
    return [(zeros, zeros) for _ in range(self.layers)]


def unstack(params: PyTree, layers: int) -> list[PyTree]:
  """Splits the parameters of a `Stack` into those of each block."""
  return [
      jax.tree.map(lambda p, i=i: p[i], params['layers']) for i in range(layers)
  ]


def extend(
    stack: Stack,
    params: list[PyTree],
    x: jax.Array,
    caches: list[Cache],
    start: jax.Array | int,
) -> tuple[jax.Array, list[Cache]]:
  """Runs new positions through all blocks; see `Attention.extend`.

  Args:
    stack: The stack.
    params: Parameters of each block, from `unstack`.
    x: The new positions, [B, S', E].
    caches: The cache of each block.
    start: Index of the first new position.

  Returns:
    The output, [B, S', E], and the caches with the new positions added.
  """
  block = Block(**dict(stack.block))
  extended = []
  for block_params, cache in zip(params, caches, strict=True):
    x, cache = block.apply(
        {'params': block_params}, x, cache, start, method='extend'
    )
    extended.append(cache)
  return x, extended


def layer_norm(dtype: str) -> nn.LayerNorm:
  """Layer normalization with PyTorch's epsilon; statistics in float32."""
  return nn.LayerNorm(
      epsilon=1e-5, use_fast_variance=False, dtype=jnp.dtype(dtype)
  )
