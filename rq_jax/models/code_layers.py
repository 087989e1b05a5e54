"""Layers between codes and a transformer: its inputs, and logits of codes."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rq_jax.models import blocks
from rq_jax.models import few_rows
from rq_jax.models import layer_norm
from rq_jax.models import linear
from rq_jax.typing import PyTree

# The logit of a code that is masked: its probability is 0 after a softmax.
# Unlike -inf, it gives 0, not NaN, when multiplied by a target of 0.
_MASKED = -1e9


class CodeClassifier(nn.Module):
  """Turns outputs of the depth transformer into logits of codes.

  For `at`, the parameter `kernel` may be a `few_rows.Kernel`, too.

  Attributes:
    width: Width of the transformer, E.
    sizes: Number of codewords at each depth, D numbers.
    shared: Whether all depths use one linear layer.
    dtype: Dtype of the matrix product; logits are float32.
  """

  width: int
  sizes: tuple[int, ...]
  shared: bool = True
  dtype: str = 'float32'

  def setup(self) -> None:
    """Builds the norm, and one classifier for all depths or one for each."""
    self.norm = layer_norm.LayerNorm(self.dtype)
    size, shared = max(self.sizes), self.shared
    # Per-depth classifiers start as the official ones: normal, deviation 0.02.
    self.kernel: Any = few_rows.find(self) or self.param(
        'kernel',
        nn.with_logical_partitioning(
            blocks.torch_kernel_init(1, 2)
            if shared
            else nn.initializers.normal(0.02),
            ('embed', 'vocab') if shared else (None, 'embed', 'vocab'),
        ),
        (self.width, size) if shared else (len(self.sizes), self.width, size),
        jnp.float32,
        unbox=True,
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
      # One product per depth: on CPUs, XLA has no batched one in bfloat16.
      by_depth = [
          self._product('bte,ek->btk', hidden[:, :, d], self.kernel[d])
          for d in range(len(self.sizes))
      ]
      logits = jnp.stack(by_depth, axis=2)
    bias = self.bias[None] if self.shared else self.bias  # [1 or D, K]
    return mask(
        logits + bias[None, None],
        self.sizes,
        jnp.array(self.sizes, jnp.int32)[None, None, :, None],
    )

  def at(self, hidden: jax.Array, depth: int) -> jax.Array:
    """Logits of the codes at one depth: [B, E] -> float32[B, K]."""
    kernel, bias = self.kernel, self.bias
    if not self.shared:
      kernel, bias = jax.tree.map(lambda p: p[depth], (kernel, bias))
    if isinstance(kernel, few_rows.Kernel):
      logits = kernel.multiply(self.norm(hidden), dtype=jnp.float32)
    else:
      logits = self._product('be,ek->bk', hidden, kernel)
    return mask(logits + bias[None], self.sizes, self.sizes[depth])

  def _product(self, product: str, hidden, kernel) -> jax.Array:
    """Logits without the bias, in float32 for inputs of any dtype."""
    return jnp.einsum(
        product,
        self.norm(hidden),
        kernel.astype(jnp.dtype(self.dtype)),
        preferred_element_type=jnp.float32,
    )


def mask(
    logits: jax.Array, sizes: tuple[int, ...], size: jax.Array | int
) -> jax.Array:
  """Masks the codes that a smaller codebook does not have: [..., K] -> same.

  Args:
    logits: One row for each draw.
    sizes: Number of codewords at each depth, D numbers.
    size: Number of codewords at the depth of each row.
  """
  if len(set(sizes)) == 1:
    return logits
  index = jnp.arange(logits.shape[-1], dtype=jnp.int32).reshape(
      (1,) * (logits.ndim - 1) + (-1,)
  )
  return jnp.where(index < size, logits, _MASKED)


def gathered(params: PyTree) -> PyTree:
  """Parameters of a `CodeClassifier`, each device with the whole width.

  A loop over chunks of positions would otherwise gather the kernel from the
  devices, and scatter its gradient, in every chunk.
  """
  return {**params, 'kernel': _whole(params['kernel'])}


@jax.custom_vjp
def _whole(kernel: jax.Array) -> jax.Array:
  axes = (*(None,) * (kernel.ndim - 1), 'vocab')
  return nn.spmd.with_logical_constraint(kernel, axes)


def _split_gradient(_, gradient: jax.Array) -> tuple[jax.Array]:
  axes = (*(None,) * (gradient.ndim - 2), 'embed', 'vocab')
  return (nn.spmd.with_logical_constraint(_whole(gradient), axes),)


_whole.defvjp(lambda kernel: (_whole(kernel), None), _split_gradient)


def look_up(tables: Sequence[jax.Array], stacks: jax.Array) -> jax.Array:
  """Looks codes up in tables [K, C] by depth: int32[..., D] -> [..., D, C]."""
  rows = [at_depth(tables, d)[stacks[..., d]] for d in range(stacks.shape[-1])]
  return jnp.stack(rows, axis=-2)


def split_batch(inputs: jax.Array) -> jax.Array:
  """Inputs [B, T, D, E], of which each device has its part of the batch.

  Otherwise, the partitioner may split the width instead, and gather the
  codewords of the whole batch on every device for the gradient of the kernel.
  """
  return nn.spmd.with_logical_constraint(
      inputs, ('batch', 'position', None, 'activation')
  )


def at_depth(tables: Sequence[jax.Array], depth: int) -> jax.Array:
  """The table of one depth; `tables` holds one shared table, or D."""
  return tables[0] if len(tables) == 1 else tables[depth]


def projection(
    kind: str,
    embed_dim: int,
    width: int,
    dtype: str,
    gradient_dtype: str | None = None,
) -> Callable[[jax.Array], jax.Array]:
  """Layer that turns codewords or learned embeddings into inputs [..., E].

  Args:
    kind: 'codebook' to project codewords, 'learned' to leave embeddings as they
      are.
    embed_dim: Channels of a codeword, C.
    width: Width of the transformer, E.
    dtype: Dtype of the matrix product.
    gradient_dtype: See `linear.Projection`.
  """
  if kind == 'learned':
    return lambda embedded: embedded
  return linear.Projection(
      (embed_dim, width),
      ('code', 'embed'),
      dtype=dtype,
      gradient_dtype=gradient_dtype,
  )


def embedding_init(scale: float) -> nn.initializers.Initializer:
  """Initializer of an embedding table float32[rows, E], with its axes."""
  init = nn.initializers.normal(scale)
  return nn.with_logical_partitioning(init, ('vocab', 'embed'))
