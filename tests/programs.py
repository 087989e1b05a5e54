"""The values in programs that JAX traces."""

import jax


def equations_in(jaxpr):
  """All equations of a program, including those of inner programs."""
  for equation in jaxpr.eqns:
    yield equation
    for value in jax.tree.leaves(
        list(equation.params.values()), is_leaf=lambda x: hasattr(x, 'jaxpr')
    ):
      inner = getattr(value, 'jaxpr', value)
      if hasattr(inner, 'eqns'):
        yield from equations_in(inner)


def values_in(jaxpr):
  """Types of all values of a program, including inner programs."""
  for equation in equations_in(jaxpr):
    yield from (variable.aval for variable in equation.outvars)
