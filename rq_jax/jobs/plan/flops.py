"""Counts the floating-point operations of a function without running it.

Only matrix products and convolutions count; a multiplication and an addition
are two operations. In a model that keeps a chip busy, everything else is a few
per cent.
"""

from collections.abc import Callable, Iterable, Iterator
import math
from typing import Any

import jax


def count(fn: Callable[..., Any], *args: Any) -> int:
  """Operations of `fn(*args)`, for all devices together.

  The body of a scan counts once per iteration, and the body of another loop
  once. Of a conditional, only the most expensive branch counts. Operations that
  a backward pass repeats count again.

  Args:
    fn: A function that JAX can trace.
    *args: Trees of arrays, or only of shapes (`jax.ShapeDtypeStruct`).
  """
  return _jaxpr(jax.make_jaxpr(fn)(*args))


def _jaxpr(jaxpr) -> int:
  return sum(_equation(equation) for equation in jaxpr.eqns)


def _equation(equation) -> int:
  name, params = equation.primitive.name, equation.params
  if name == 'dot_general':
    return _product(equation)
  if name == 'conv_general_dilated':
    return _convolution(equation)
  inner = [_jaxpr(jaxpr) for jaxpr in _inner(params.values())]
  if name == 'cond':
    return max(inner)
  return sum(inner) * (params['length'] if name == 'scan' else 1)


def _inner(values: Iterable[Any]) -> Iterator[Any]:
  """Programs among the parameters of an equation, such as a loop's body."""
  for value in values:
    if hasattr(value, 'eqns'):
      yield value
    elif isinstance(value, tuple | list):
      yield from _inner(value)


def _product(equation) -> int:
  left = equation.invars[0].aval.shape
  (summed, _), _ = equation.params['dimension_numbers']
  outputs = math.prod(equation.outvars[0].aval.shape)
  return 2 * outputs * math.prod(left[i] for i in summed)


def _convolution(equation) -> int:
  kernel = equation.invars[1].aval.shape
  # Output channels, input channels of one group, and the window.
  _, channels, *window = equation.params['dimension_numbers'].rhs_spec
  terms = math.prod(kernel[i] for i in (channels, *window))
  outputs = math.prod(equation.outvars[0].aval.shape)
  # The derivative of a strided convolution inserts zeros between the gradients,
  # which do not count.
  zeros = math.prod(equation.params['lhs_dilation'])
  return 2 * outputs * terms // zeros
