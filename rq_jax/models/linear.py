"""The linear layer of the transformers."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rq_jax.models import blocks
from rq_jax.models import few_rows


class Projection(nn.Module):
  """A linear layer over the last axes, with PyTorch's initial weights.

  Its parameter `kernel` may be a `few_rows.Kernel`, too.

  Attributes:
    shape: Shape of the kernel: the axes summed over, then the output axes.
    axes: Logical names of the kernel's axes.
    summed: Number of leading axes that are summed over.
    use_bias: Whether to add a bias.
    dtype: Dtype of the computation.
    gradient_dtype: 'float32' for gradients of the parameters that are float32
      before devices add them up; None to compute and add them up in `dtype`.
  """

  shape: tuple[int, ...]
  axes: tuple[str | None, ...]
  summed: int = 1
  use_bias: bool = True
  dtype: str = 'float32'
  gradient_dtype: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Projects: [..., *inputs] -> [..., *outputs]."""
    inputs, outputs = self.shape[: self.summed], self.shape[self.summed :]
    init = blocks.torch_kernel_init(self.summed, len(self.shape))
    init = nn.with_logical_partitioning(init, self.axes)
    # `unbox=True` is the default; written out, it types the result.
    kernel = few_rows.find(self) or self.param(
        'kernel', init, self.shape, jnp.float32, unbox=True
    )
    dtype, of_float32 = jnp.dtype(self.dtype), self.gradient_dtype == 'float32'
    product: Any = _product_of_float32 if of_float32 else _product
    y = product(x.astype(dtype), kernel, self.summed)
    if self.use_bias:
      bias_init = blocks.torch_bias_init(math.prod(inputs))
      bias = self.param('bias', bias_init, outputs, jnp.float32)
      add: Any = _sum_of_float32 if of_float32 else _sum
      y = add(y, bias)
    return y


def _product(
    x: jax.Array, kernel: jax.Array | few_rows.Kernel, summed: int
) -> jax.Array:
  if isinstance(kernel, few_rows.Kernel):
    return kernel.multiply(x, summed)
  return jnp.tensordot(x, kernel.astype(x.dtype), axes=summed)


def _sum(y: jax.Array, bias: jax.Array) -> jax.Array:
  shape = (1,) * (y.ndim - bias.ndim) + bias.shape
  return y + bias.astype(y.dtype).reshape(shape)


# The same, with gradients of the parameters that are never rounded to the dtype
# of x.


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product_of_float32(
    x: jax.Array, kernel: jax.Array, summed: int
) -> jax.Array:
  return _product(x, kernel, summed)


def _product_forward(x, kernel, summed):
  return _product(x, kernel, summed), (x, kernel)


def _product_backward(summed, saved, gradient):
  x, kernel = saved
  rows = list(range(x.ndim - summed))
  outputs = kernel.ndim - summed
  # From [inputs, outputs] to [outputs, inputs].
  turned = jnp.moveaxis(kernel, range(summed), range(outputs, kernel.ndim))
  return (
      _product(gradient, turned, outputs),
      jnp.tensordot(
          x, gradient, axes=(rows, rows), preferred_element_type=kernel.dtype
      ),
  )


_product_of_float32.defvjp(_product_forward, _product_backward)


@jax.custom_vjp
def _sum_of_float32(y: jax.Array, bias: jax.Array) -> jax.Array:
  return _sum(y, bias)


def _sum_backward(bias, gradient):
  rows = tuple(range(gradient.ndim - bias.ndim))
  return gradient, jnp.sum(gradient.astype(bias.dtype), axis=rows)


_sum_of_float32.defvjp(lambda y, bias: (_sum(y, bias), bias), _sum_backward)
