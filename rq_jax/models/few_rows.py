"""Kernels of linear layers, laid out for products of few rows.

Sampling multiplies few rows with every kernel, so its speed is that of reading
kernels. In a training step, kernels are the arrays of the parameters.
"""

import functools

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Kernel:
  """The kernel of a linear layer.

  Layers accept it in place of the array of their parameter `kernel`.

  Attributes:
    values: [*inputs, *outputs], or [*outputs, *inputs]; int8, or of the dtype
      of the computation.
    outputs_first: Which of the two.
    scales: What multiplies each output of int8 values, float32[*outputs]; None
      for values that are not quantized.
  """

  values: jax.Array
  outputs_first: bool = flax.struct.field(pytree_node=False)
  scales: jax.Array | None = None

  def multiply(
      self, x: jax.Array, summed: int = 1, dtype: jnp.dtype | None = None
  ) -> jax.Array:
    """Multiplies rows: [..., *inputs] -> [..., *outputs].

    Args:
      x: The rows.
      summed: Number of axes of the inputs.
      dtype: Dtype of the result; None for that of x.
    """
    dtype = jnp.dtype(dtype or x.dtype)
    if self.scales is None:
      return self._product(x, summed, dtype)
    # Scales multiply sums that are not rounded yet.
    y = self._product(x, summed, jnp.dtype('float32'))
    scales = self.scales[(None,) * (y.ndim - self.scales.ndim)]
    return (y * scales).astype(dtype)

  def _product(self, x: jax.Array, summed: int, dtype: jnp.dtype) -> jax.Array:
    outputs = self.values.ndim - summed
    start = outputs if self.outputs_first else 0
    of_values = tuple(range(start, start + summed))
    of_x = tuple(range(x.ndim - summed, x.ndim))
    values = self.values.astype(x.dtype)
    dot = functools.partial(jax.lax.dot_general, preferred_element_type=dtype)
    if not self.outputs_first:
      return dot(x, values, ((of_x, of_values), ((), ())))
    y = dot(values, x, ((of_values, of_x), ((), ())))
    # CPUs multiply faster in this order, and then transpose the few rows. XLA
    # would swap the factors instead, without the barrier.
    y = jax.lax.optimization_barrier(y)
    return jnp.moveaxis(y, range(outputs), range(-outputs, 0))


def find(module: nn.Module) -> Kernel | None:
  """The parameter `kernel` of a layer, if it is laid out; else None."""
  kernel = module.get_variable('params', 'kernel')
  return kernel if isinstance(kernel, Kernel) else None


def lay_out(
    kernel: jax.Array,
    summed: int,
    *,
    outputs_first: bool,
    int8: bool = False,
) -> Kernel:
  """Lays out a kernel [*inputs, *outputs].

  Args:
    kernel: The kernel.
    summed: Number of axes of the inputs.
    outputs_first: Whether the outputs come first, as CPUs want them.
    int8: Whether to round the weights of each output to 255 equally spaced
      values, symmetric about 0, of which the largest weight is one.
  """
  scales = None
  if int8:
    weights = kernel.astype(jnp.float32)
    largest = jnp.max(jnp.abs(weights), axis=range(summed))
    scales = jnp.where(largest > 0, largest, 1) / 127
    by_scale = weights / scales[(None,) * summed]
    kernel = jnp.round(by_scale).astype(jnp.int8)
  if outputs_first:
    kernel = jnp.moveaxis(kernel, range(summed), range(-summed, 0))
  return Kernel(kernel, outputs_first, scales)
