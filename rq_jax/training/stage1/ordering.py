"""The order in memory of the gradients of convolutions."""

from typing import Any

import jax
from jax.experimental import layout

from rq_jax.typing import PyTree


def as_parameters(task: Any, grads: PyTree) -> PyTree:
  """Gradients whose dimensions lie in memory as those of their parameters.

  Libraries for GPUs compute gradients of convolutions with the outputs first.
  XLA would update parameters and moments in this order as well, and copy all of
  them back. The barrier keeps the change of order out of the update, which then
  overwrites the old values in place.

  Args:
    task: A `stage1.Task`. If it splits parameters over devices, nothing
      changes, because XLA would first gather the gradients.
    grads: Gradients of parameters.
  """
  if not task.whole_parameters:
    return grads

  def reorder(grads):
    return jax.tree.map(_in_order, grads)

  return jax.lax.platform_dependent(
      grads, cuda=reorder, rocm=reorder, default=lambda grads: grads
  )


def _in_order(gradient: jax.Array) -> jax.Array:
  last_fastest = layout.Layout(major_to_minor=tuple(range(gradient.ndim)))
  return jax.lax.optimization_barrier(
      layout.with_layout_constraint(gradient, last_fastest)
  )
