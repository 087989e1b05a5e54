"""What kernels cost, for `compile`: XLA cannot look into them."""

import jax
import jax.numpy as jnp

from rq_jax.typing import PyTree


def describe(
    x: jax.Array, arrays: PyTree, *, flops: int = 0, more_bytes: int = 0
) -> dict[str, str]:
  """Metadata of a kernel, which stands in the text of a compiled program.

  Args:
    x: The rows that the kernel computes with.
    arrays: Arrays, or their shapes, that it reads or writes once each.
    flops: Operations of its products.
    more_bytes: Bytes that it moves besides these arrays.
  """
  leaves = jax.tree.leaves(arrays)
  moved = sum(leaf.size * jnp.dtype(leaf.dtype).itemsize for leaf in leaves)
  return {
      'bytes': str(moved + more_bytes),
      'flops': str(flops),
      'rows': str(len(x)),
      'dtype': str(x.dtype),
  }
