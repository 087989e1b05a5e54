"""Checks the tree that a pickle describes, before others walk over it."""

from typing import Any

from rq_jax.conversion.torch_format import calls
from rq_jax.conversion.torch_format.tensors import Storage


def problem(tree: Any, max_nodes: int, max_depth: int) -> str | None:
  """Why a tree is refused, or None.

  Args:
    tree: The tree; a value may occur in it several times.
    max_nodes: Nodes that it may have, including repetitions.
    max_depth: Levels that it may have.
  """
  if isinstance(tree, calls.Opaque):
    return f'is an object of {tree}'
  waiting, count = [(tree, 0)], 1
  while waiting:
    value, depth = waiting.pop()
    children = ()
    if isinstance(value, dict):
      children = value.values()
    elif isinstance(value, list | tuple):
      children = value
    elif isinstance(value, calls.Name | Storage):
      return 'holds a class or a storage outside of any tensor'
    count += len(children)
    if depth > max_depth or count > max_nodes:
      return 'is nested too deeply, or repeats itself too often'
    waiting += ((child, depth + 1) for child in children)
  return None
