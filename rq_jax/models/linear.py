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
    x = x.astype(dtype)
    if isinstance(kernel, few_rows.Kernel):
      y: Any = kernel.multiply(x, self.summed)
    else:
      gradient_dtype = jnp.dtype('float32') if of_float32 else dtype
      y = _product(x, kernel, self.summed, gradient_dtype)
    if self.use_bias:
      bias_init = blocks.torch_bias_init(math.prod(inputs))
      bias = self.param('bias', bias_init, outputs, jnp.float32)
      add: Any = _sum_of_float32 if of_float32 else _sum
      y = add(y, bias)
    return y


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _product(
    x: jax.Array, kernel: jax.Array, summed: int, gradient_dtype: jnp.dtype
) -> jax.Array:
  """The product: [..., *inputs], [*inputs, *outputs] -> [..., *outputs].

  Args:
    x: The rows.
    kernel: The kernel.
    summed: Number of axes of the inputs.
    gradient_dtype: Dtype in which the gradient of the kernel is computed.
  """
  del gradient_dtype  # Only the gradient depends on it.
  return _multiply(x, kernel, summed)


def _multiply(x: jax.Array, kernel: jax.Array, summed: int) -> jax.Array:
  return jnp.tensordot(x, kernel.astype(x.dtype), axes=summed)


def _product_forward(x, kernel, summed, gradient_dtype):
  del gradient_dtype
  # `remat.block` would not see the product inside of `_product`.
  return _multiply(x, kernel, summed), (x, kernel)


def _product_backward(summed, gradient_dtype, saved, gradient):
  x, kernel = saved
  options: Any = dict(rows=x.ndim - summed, dtype=gradient_dtype)
  of_kernel = jax.lax.platform_dependent(
      x,
      gradient,
      cpu=functools.partial(_sum_over_rows_on_cpu, **options),
      default=functools.partial(_sum_over_rows, **options),
  )
  outputs = list(range(summed - kernel.ndim, 0))
  of_x = jnp.tensordot(gradient, kernel.astype(x.dtype), (outputs, outputs))
  return of_x, of_kernel.astype(kernel.dtype)


_product.defvjp(_product_forward, _product_backward)


def _sum_over_rows(
    x: jax.Array, y: jax.Array, *, rows: int, dtype: jnp.dtype
) -> jax.Array:
  """Sums outer products: [*rows, *inputs], [*rows, *outputs] -> kernel."""
  axes = list(range(rows))
  return jnp.tensordot(x, y, axes=(axes, axes), preferred_element_type=dtype)


def _sum_over_rows_on_cpu(
    x: jax.Array, y: jax.Array, *, rows: int, dtype: jnp.dtype
) -> jax.Array:
  """The same, as a product of two matrices.

  XLA transposes factors with more axes in memory, or reads both against their
  order, which takes about twice as long.
  """
  inputs, outputs = x.shape[rows:], y.shape[rows:]
  count = math.prod(x.shape[:rows])  # It may be 0, so -1 would be ambiguous.
  x = x.reshape(count, math.prod(inputs))
  y = y.reshape(count, math.prod(outputs))
  summed = _sum_over_rows(x, y, rows=1, dtype=dtype)
  return summed.reshape(*inputs, *outputs)


def _sum(y: jax.Array, bias: jax.Array) -> jax.Array:
  shape = (1,) * (y.ndim - bias.ndim) + bias.shape
  return y + bias.astype(y.dtype).reshape(shape)


@jax.custom_vjp
def _sum_of_float32(y: jax.Array, bias: jax.Array) -> jax.Array:
  """The same; the gradient of the bias is never rounded to the dtype of y."""
  return _sum(y, bias)


def _sum_backward(bias, gradient):
  rows = tuple(range(gradient.ndim - bias.ndim))
  return gradient, jnp.sum(gradient.astype(bias.dtype), axis=rows)


_sum_of_float32.defvjp(lambda y, bias: (_sum(y, bias), bias), _sum_backward)
