"""The linear layer of the transformers."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from rq_jax.models import blocks


class Projection(nn.Module):
  """A linear layer over the last axes, with PyTorch's initial weights.

  Attributes:
    shape: Shape of the kernel: the axes summed over, then the output axes.
    axes: Logical names of the kernel's axes.
    summed: Number of leading axes that are summed over.
    use_bias: Whether to add a bias.
    dtype: Dtype of the computation.
  """

  shape: tuple[int, ...]
  axes: tuple[str | None, ...]
  summed: int = 1
  use_bias: bool = True
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Projects: [..., *inputs] -> [..., *outputs]."""
    inputs, outputs = self.shape[: self.summed], self.shape[self.summed :]
    init = blocks.torch_kernel_init(self.summed, len(self.shape))
    init = nn.with_logical_partitioning(init, self.axes)
    # `unbox=True` is the default; written out, it types the result.
    kernel = self.param('kernel', init, self.shape, jnp.float32, unbox=True)
    dtype = jnp.dtype(self.dtype)
    y = jnp.tensordot(x.astype(dtype), kernel.astype(dtype), axes=self.summed)
    if self.use_bias:
      bias_init = blocks.torch_bias_init(math.prod(inputs))
      bias = self.param('bias', bias_init, outputs, jnp.float32)
      y = y + bias.astype(dtype).reshape((1,) * (y.ndim - bias.ndim) + outputs)
    return y
