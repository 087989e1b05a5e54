"""The RQ-Transformer: a model of code maps (Section 3.2).

A spatial transformer reads the condition and the code stacks of all earlier
positions, and outputs one context vector for each position. A depth
transformer reads this vector and the earlier codes of the stack, and predicts
the next code.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from rq_jax.models import blocks
from rq_jax.models import code_layers
from rq_jax.models import layer_norm
from rq_jax.models import linear
from rq_jax.models import module
from rq_jax.models import transformer


class RQTransformer(module.Module):
  """Predicts code maps position by position, and each stack code by code.

  Codes are int32[B, H, W, D]; conditions int32[B, condition_length]: a label,
  the token ids of a text, or 0 for an unconditional model.

  Attributes:
    code_shape: H, W, D of the code map.
    codebook_size: Number of codewords, K; one number, or one for each depth.
    embed_dim: Channels of a codeword, C.
    width: Width of both transformers, E.
    heads: Number of attention heads, N.
    spatial_layers: Number of blocks of the spatial transformer.
    depth_layers: Number of blocks of the depth transformer.
    num_classes: Number of classes of a class-conditional model, else 0.
    text_vocab_size: Number of token ids of a text-conditional model, else 0.
    text_length: Number of tokens of a text.
    null_class: Whether there is one more condition, the last, which stands for
      "no condition"; guidance needs it.
    spatial_input: How a code enters the spatial transformer: 'codebook' for a
      projection of its codeword, 'learned' for a learned embedding.
    depth_input: The same for the depth transformer.
    shared_embedding: Whether all depths use one learned embedding.
    cumulative_depth_input: Whether the depth transformer reads the sum of the
      codewords so far; if not, it reads only the last codeword.
    shared_classifier: Whether all depths use one classifier.
    attention_bias: Whether the projections of the attention have biases.
    mlp_bias: Whether the layers of the MLPs have biases.
    gelu: 'exact' or 'sigmoid', see `transformer.Block`.
    depth_gelu: `gelu` of the depth transformer; None to use the same.
    dropout: Dropout rate after each attention and MLP.
    attention_dropout: Dropout rate on the attention weights.
    embedding_dropout: Dropout rate on the inputs of the spatial transformer.
    remat: What the backward pass recomputes; see `remat.block`.
    dtype: Dtype of the computation; logits, softmax and statistics are float32.
    gradient_dtype: See `linear.Projection`.
  """

  code_shape: tuple[int, int, int] = (8, 8, 4)
  codebook_size: int | Sequence[int] = 16384
  embed_dim: int = 256
  width: int = 1536
  heads: int = 24
  spatial_layers: int = 12
  depth_layers: int = 4
  num_classes: int = 0
  text_vocab_size: int = 0
  text_length: int = 0
  null_class: bool = False
  spatial_input: str = 'codebook'
  depth_input: str = 'codebook'
  shared_embedding: bool = True
  cumulative_depth_input: bool = True
  shared_classifier: bool = True
  attention_bias: bool = True
  mlp_bias: bool = True
  gelu: str = 'exact'
  depth_gelu: str | None = None
  dropout: float = 0.1
  attention_dropout: float = 0.0
  embedding_dropout: float = 0.0
  remat: str = 'none'
  dtype: str = 'float32'
  gradient_dtype: str | None = None

  def setup(self) -> None:
    """Builds the tables of embeddings and both transformers."""
    rows = self.condition_size + self.null_class
    self.condition_embedding = self._table('condition_embedding', rows, 1.0)
    self.condition_position = self._position(
        'condition_position', self.condition_length
    )
    self.spatial_position = self._position('spatial_position', self.positions)
    self.depth_position = self._position('depth_position', self.depth)
    if 'learned' in (self.spatial_input, self.depth_input):
      self.code_embeddings = (
          (self._table('code_embedding', max(self.sizes), 1.0),)
          if self.shared_embedding
          else tuple(
              self._table(f'code_embedding_{d}', size, 0.02)
              for d, size in enumerate(self.sizes)
          )
      )
    sizes = self.embed_dim, self.width, self.dtype, self.gradient_dtype
    self.spatial_projection = code_layers.projection(self.spatial_input, *sizes)
    self.depth_projection = code_layers.projection(self.depth_input, *sizes)
    self.spatial_stack = self.make_spatial_stack()
    self.depth_stack = self.make_depth_stack()
    self.drop = blocks.Dropout(self.embedding_dropout)
    self.classifier = code_layers.CodeClassifier(
        self.width, self.sizes, self.shared_classifier, self.dtype
    )
    if self.condition_length > 1:
      self.condition_norm = layer_norm.LayerNorm(self.dtype)
      self.condition_classifier = linear.Projection(
          (self.width, self.condition_size),
          ('embed', 'vocab'),
          dtype=self.dtype,
          gradient_dtype=self.gradient_dtype,
      )

  @property
  def positions(self) -> int:
    """Number of positions of a code map, T."""
    return self.code_shape[0] * self.code_shape[1]

  @property
  def depth(self) -> int:
    """Number of codes at a position, D."""
    return self.code_shape[2]

  @property
  def sizes(self) -> tuple[int, ...]:
    """Number of codewords at each depth."""
    size = self.codebook_size
    return (size,) * self.depth if isinstance(size, int) else tuple(size)

  @property
  def condition_size(self) -> int:
    """Number of values that a condition can take, without the null class."""
    return max(self.num_classes, self.text_vocab_size, 1)

  @property
  def condition_length(self) -> int:
    """Number of positions of the condition in the spatial transformer."""
    return max(self.text_length, 1)

  @nn.nowrap
  def make_spatial_stack(self) -> transformer.Stack:
    """Makes the blocks of the spatial transformer, without parameters."""
    return transformer.Stack(
        self.spatial_layers, self._block(self.gelu), self.remat
    )

  @nn.nowrap
  def make_depth_stack(self) -> transformer.Stack:
    """Makes the blocks of the depth transformer, without parameters."""
    return transformer.Stack(
        self.depth_layers, self._block(self.depth_gelu or self.gelu), self.remat
    )

  def __call__(
      self,
      codes: jax.Array,
      condition: jax.Array,
      codebooks: Sequence[jax.Array] = (),
      *,
      train: bool = False,
  ) -> jax.Array:
    """Predicts every code from the codes before it.

    Args:
      codes: int32[B, H, W, D].
      condition: int32[B, condition_length].
      codebooks: Codewords float32[K, C] of the tokenizer, one array if shared,
        else one for each depth; needed if an input is 'codebook'.
      train: Whether to apply dropout, which needs the rng stream 'dropout'.

    Returns:
      Logits of each code, float32[B, H, W, D, K].
    """
    hidden, last = self.hidden(codes, condition, codebooks, train=train)
    if self.is_initializing() and self.condition_length > 1:
      self.condition_logits(last)  # Creates its parameters.
    return self.classify(hidden).reshape(*codes.shape, max(self.sizes))

  def hidden(
      self,
      codes: jax.Array,
      condition: jax.Array,
      codebooks: Sequence[jax.Array] = (),
      *,
      train: bool = False,
  ) -> tuple[jax.Array, jax.Array]:
    """Computes the inputs of `classify` and `condition_logits`.

    For the arguments, see `__call__`.

    Returns:
      Outputs of the depth transformer, [B, T, D, E], and outputs of the spatial
      transformer at all positions of the condition except the last,
      [B, condition_length - 1, E].
    """
    codes = codes.reshape(len(codes), self.positions, self.depth)
    inputs = self._spatial_codes(codes[:, :-1], codebooks)
    inputs = inputs + self.spatial_position[None, :-1]
    inputs = jnp.concatenate([self.embed_condition(condition), inputs], axis=1)
    inputs = self.drop(inputs.astype(self.dtype), train=train)
    spatial = self.spatial_stack(inputs, train)  # [B, S, E]
    known = self.condition_length - 1
    inputs = spatial[:, known:, None] + self.depth_position[None, None, :1]
    if self.depth > 1:
      earlier = self._depth_codes(codes[..., :-1], codebooks)
      earlier = earlier + self.depth_position[None, None, 1:]
      inputs = jnp.concatenate([inputs, earlier], axis=2)
    stacks = inputs.astype(self.dtype).reshape(-1, *inputs.shape[2:])
    outputs = self.depth_stack(stacks, train)  # [B * T, D, E]
    return outputs.reshape(inputs.shape), spatial[:, :known]

  def classify(self, hidden: jax.Array) -> jax.Array:
    """Logits of whole stacks: [B, T, D, E] -> float32[B, T, D, K]."""
    return self.classifier(hidden)

  def classify_at(self, hidden: jax.Array, depth: int) -> jax.Array:
    """Logits of the codes at one depth: [B, E] -> float32[B, K]."""
    return self.classifier.at(hidden, depth)

  def condition_logits(self, spatial: jax.Array) -> jax.Array:
    """Logits of the next token of a text: [B, S, E] -> float32[B, S, V]."""
    logits = self.condition_classifier(self.condition_norm(spatial))
    return logits.astype(jnp.float32)

  def embed_condition(self, condition: jax.Array) -> jax.Array:
    """Inputs of the condition: int32[B, S] -> [B, S, E]."""
    return self.condition_embedding[condition] + self.condition_position[None]

  def tables(
      self, codebooks: Sequence[jax.Array] = ()
  ) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    """Tables with the contribution of each code to both transformers' inputs.

    Projections are linear, so an input is a sum of rows of these tables and of
    position embeddings. Sampling computes the tables once for all draws.

    Returns:
      Tables [K, E] of the spatial transformer and of the depth transformer: one
      if all depths share it, else one for each depth. If D is 1, the depth
      transformer has no table.
    """
    spatial = self._words(self.spatial_input, codebooks)
    depth = self._words(self.depth_input, codebooks) if self.depth > 1 else ()
    offset = self._depth_offset(codebooks)
    spatial = tuple(self.spatial_projection(words) for words in spatial)
    return spatial, tuple(self.depth_projection(w) - offset for w in depth)

  def depth_offsets(self, codebooks: Sequence[jax.Array] = ()) -> jax.Array:
    """Inputs of the depth transformer before codes are added: [D, E]."""
    no_codes = jnp.arange(self.depth, dtype=jnp.int32)[:, None] == 0
    offset = jnp.where(no_codes, 0.0, self._depth_offset(codebooks))
    return self.depth_position + offset

  def _depth_offset(self, codebooks) -> jax.Array:
    """The bias of the projection, which each input has once: [1, E]."""
    if self.depth == 1:  # No projection is needed.
      return jnp.zeros((1, self.width), jnp.float32)
    words = self._words(self.depth_input, codebooks)[0]
    return self.depth_projection(jnp.zeros_like(words[:1]))

  def _words(self, kind: str, codebooks) -> Sequence[jax.Array]:
    return self.code_embeddings if kind == 'learned' else codebooks

  def _spatial_codes(self, stacks: jax.Array, codebooks) -> jax.Array:
    """Sums the inputs of the codes over depth: [B, T, D] -> [B, T, E]."""
    words = self._words(self.spatial_input, codebooks)
    embedded = self.spatial_projection(code_layers.look_up(words, stacks))
    return jnp.sum(code_layers.split_batch(embedded), axis=-2)

  def _depth_codes(self, stacks: jax.Array, codebooks) -> jax.Array:
    """Inputs after each code of a stack: [B, T, D'] -> [B, T, D', E]."""
    words = self._words(self.depth_input, codebooks)
    embedded = code_layers.look_up(words, stacks)
    if self.cumulative_depth_input:
      embedded = jnp.cumsum(embedded, axis=-2)
    return code_layers.split_batch(self.depth_projection(embedded))

  def _table(self, name: str, rows: int, scale: float) -> jax.Array:
    init = code_layers.embedding_init(scale)
    return self.param(name, init, (rows, self.width), jnp.float32)

  def _position(self, name: str, length: int) -> jax.Array:
    init = nn.initializers.normal(0.02)
    return self.param(name, init, (length, self.width), jnp.float32)

  @nn.nowrap
  def _block(self, gelu: str) -> transformer.BlockFields:
    shared = ('width', 'heads', 'attention_bias', 'mlp_bias')
    shared += ('dropout', 'attention_dropout', 'dtype', 'gradient_dtype')
    return ('gelu', gelu), *((name, getattr(self, name)) for name in shared)
