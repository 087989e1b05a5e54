"""Blocks whose backward pass computes results of the forward pass again."""

from typing import Any

import flax.linen as nn
import jax


def block(kind: type[nn.Module], policy: str, *, scanned: bool) -> Any:
  """A block that keeps only some of its results for the backward pass.

  Args:
    kind: The block, whose `__call__` takes an array and the bool `train`.
    policy: 'none' recomputes nothing; 'products' keeps the results of
      convolutions and of products with kernels, and recomputes the rest; 'full'
      keeps only the input of the block.
    scanned: Whether a scan runs over the blocks. Its loop already keeps the
      compiler from undoing the recomputation.

  Raises:
    ValueError: If the policy is unknown.
  """
  if policy == 'none':
    return kind
  if policy not in ('products', 'full'):
    raise ValueError(
        f"config.model.remat={policy!r} must be 'none', 'products' or 'full'."
        ' Change --config.model.remat.'
    )
  return nn.remat(
      kind,
      static_argnums=(2,),
      prevent_cse=not scanned,
      policy=_is_product if policy == 'products' else None,
  )


def _is_product(primitive: Any, *args: Any, **params: Any) -> Any:
  """Whether to keep a result: of a convolution, or of a product without batch.

  Attention scores have batch dimensions, so they are recomputed.
  """
  if primitive is jax.lax.conv_general_dilated_p:
    return True
  keeps = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
  return keeps(primitive, *args, **params)
