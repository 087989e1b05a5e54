"""How codes enter a transformer and leave it."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from rq_jax.models import blocks
from rq_jax.models import transformer

# What is masked gets a logit that no softmax notices, but that, unlike -inf,
# gives 0 when multiplied by a target of 0.
_MASKED = -1e9


class CodeClassifier(nn.Module):
  """Turns outputs of the depth transformer into logits of codes.

  Attributes:
    width: Width of the transformer, E.
    sizes: Codewords at each depth, D numbers.
    shared: Whether all depths use one linear layer.
    dtype: Of the matrix product; logits are float32.
  """

  width: int
  sizes: tuple[int, ...]
  shared: bool = True
  dtype: str = 'float32'

  def setup(self) -> None:
    """Builds the norm, and one classifier or one for each depth."""
    self.norm = transformer.layer_norm(self.dtype)
    size, shared = max(self.sizes), self.shared
    # Per-depth classifiers start as the official ones do, normal with 0.02.
    self.kernel = self.param(
        'kernel',
        nn.with_logical_partitioning(
            blocks.torch_kernel_init(1, 2)
            if shared
            else nn.initializers.normal(0.02),
            ('embed', 'vocab') if shared else (None, 'embed', 'vocab'),
        ),
        (self.width, size) if shared else (len(self.sizes), self.width, size),
        jnp.float32,
    )
    self.bias = self.param(
        'bias',
        blocks.torch_bias_init(self.width)
        if shared
        else nn.initializers.normal(0.02),
        (size,) if shared else (len(self.sizes), size),
        jnp.float32,
    )

  def __call__(self, hidden: jax.Array) -> jax.Array:
    """Logits of whole stacks: [B, T, D, E] -> float32[B, T, D, K]."""
    if self.shared:
      logits = self._product('btde,ek->btdk', hidden, self.kernel)
    else:
      # One product for each depth: on CPUs, XLA has none for all in bfloat16.
      by_depth = [
          self._product('bte,ek->btk', hidden[:, :, d], self.kernel[d])
          for d in range(len(self.sizes))
      ]
      logits = jnp.stack(by_depth, axis=2)
    bias = self.bias[None] if self.shared else self.bias  # [1 or D, K]
    return self._mask(
        logits + bias[None, None],
        jnp.array(self.sizes, jnp.int32)[None, None, :, None],
    )

  def at(self, hidden: jax.Array, depth: int) -> jax.Array:
    """Logits of the codes at one depth: [B, E] -> float32[B, K]."""
    kernel, bias = self.kernel, self.bias
    if not self.shared:
      kernel, bias = kernel[depth], bias[depth]
    logits = self._product('be,ek->bk', hidden, kernel)
    return self._mask(logits + bias[None], self.sizes[depth])

  def _mask(self, logits: jax.Array, size: jax.Array | int) -> jax.Array:
    """Rules out codes that a smaller codebook does not have."""
    if len(set(self.sizes)) == 1:
      return logits
    index = jnp.arange(logits.shape[-1], dtype=jnp.int32).reshape(
        (1,) * (logits.ndim - 1) + (-1,)
    )
    return jnp.where(index < size, logits, _MASKED)

  def _product(self, product: str, hidden, kernel) -> jax.Array:
    """Logits without the bias, never rounded to less than float32."""
    return jnp.einsum(
        product,
        self.norm(hidden),
        kernel.astype(jnp.dtype(self.dtype)),
        preferred_element_type=jnp.float32,
    )


def look_up(tables: Sequence[jax.Array], stacks: jax.Array) -> jax.Array:
  """Rows of tables [K, C] by depth: int32[..., D] -> [..., D, C]."""
  rows = [at_depth(tables, d)[stacks[..., d]] for d in range(stacks.shape[-1])]
  return jnp.stack(rows, axis=-2)


def at_depth(tables: Sequence[jax.Array], depth: int) -> jax.Array:
  """The table of one depth, of tables that are shared (one) or not (D)."""
  return tables[0] if len(tables) == 1 else tables[depth]


def projection(
    kind: str, embed_dim: int, width: int, dtype: str
) -> Callable[[jax.Array], jax.Array]:
  """What turns codewords, or learned embeddings, into inputs: [..., E].

  Args:
    kind: 'codebook', whose codewords are projected, or 'learned'.
    embed_dim: Channels of a codeword, C.
    width: Width of the transformer, E.
    dtype: Of the matrix product.
  """
  if kind == 'learned':
    return lambda embedded: embedded
  return transformer.Projection(
      (embed_dim, width), ('code', 'embed'), dtype=dtype
  )


def embedding_init(scale: float) -> nn.initializers.Initializer:
  """Initializer of a table of embeddings, float32[rows, E], with its axes."""
  init = nn.initializers.normal(scale)
  return nn.with_logical_partitioning(init, ('vocab', 'embed'))
