"""Renames and rearranges arrays by a table, strictly and in both directions.

Every name on both sides is used exactly once, and every array has the shape
that the model needs. Otherwise, one error lists all names that differ.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import os
from typing import Any

import jax
import numpy as np

from rq_jax.conversion.tables import Row
from rq_jax.conversion.tables import Shapes
from rq_jax.typing import PyTree

_LISTED = 12  # At most so many names of each kind appear in an error.


def flatten(tree: PyTree) -> dict[str, Any]:
  """Leaves of a tree by path, such as 'params/encoder/conv_in/conv/kernel'."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
      jax.tree_util.keystr(path, simple=True, separator='/'): leaf
      for path, leaf in leaves
  }


def unflatten(like: PyTree, leaves: Mapping[str, object]) -> PyTree:
  """The inverse of `flatten`: leaves in a tree of the structure of `like`."""
  paths, structure = jax.tree_util.tree_flatten_with_path(like)
  names = [
      jax.tree_util.keystr(path, simple=True, separator='/')
      for path, _ in paths
  ]
  return jax.tree_util.tree_unflatten(structure, [leaves[n] for n in names])


def shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
  """Shapes of leaves by path."""
  return {name: tuple(leaf.shape) for name, leaf in flatten(tree).items()}


def official_shapes(
    rows: Sequence[Row], ours: Shapes
) -> dict[str, tuple[int, ...]]:
  """Shapes of the official arrays, computed only from the shapes of ours."""
  expected = {}
  for row in rows:
    # A single zero, broadcast: layouts rearrange it without using memory.
    stand_ins = [np.broadcast_to(np.int8(0), ours[name]) for name in row.ours]
    arrays = row.layout.to_theirs(stand_ins)
    expected |= {
        name: np.shape(array)
        for name, array in zip(row.theirs, arrays, strict=True)
    }
  return expected


def check(
    rows: Sequence[Row],
    ours: Shapes,
    theirs: Shapes,
    source: str | os.PathLike,
    *,
    model: str = 'the model that its config.yaml describes',
    advice: str = 'Use the config.yaml that was released with it.',
) -> None:
  """Compares the arrays that a model needs with those in a file.

  Args:
    rows: The table of the model.
    ours: Shapes of our arrays, by path.
    theirs: Shapes of the arrays in the file, by official name.
    source: Path of the file, for the error.
    model: Which model the file should hold, for the error.
    advice: What to do if it holds another, a sentence.

  Raises:
    ValueError: If any name is missing, unexpected or has another shape; lists
      them all.
  """
  expected = official_shapes(rows, ours)
  problems = {
      'missing': [n for n in expected if n not in theirs],
      'unexpected': [n for n in theirs if n not in expected],
      'of another shape': [
          f'{n} (is {list(theirs[n])}, should be {list(shape)})'
          for n, shape in expected.items()
          if n in theirs and tuple(theirs[n]) != tuple(shape)
      ],
  }
  if any(problems.values()):
    listed = '; '.join(
        f'{len(names)} {kind}: {_some(names)}'
        for kind, names in problems.items()
        if names
    )
    raise ValueError(f'{source} does not hold {model}: {listed}. {advice}')


def to_ours(
    rows: Sequence[Row],
    read: Callable[[str], np.ndarray],
    dtypes: Mapping[str, np.dtype],
) -> Iterator[tuple[str, np.ndarray]]:
  """Converts official arrays, one row at a time.

  Args:
    rows: The table of the model.
    read: Reads one official array.
    dtypes: Types of our arrays, by path. Narrower numbers are widened exactly.

  Yields:
    The path and the values of each of our arrays.

  Raises:
    ValueError: If values contradict each other, such as copies that differ.
  """
  for row in rows:
    try:
      arrays = row.layout.to_ours([read(name) for name in row.theirs])
    except ValueError as error:
      raise ValueError(
          f'{_some(row.theirs)}: {error}. Download or copy the file again.'
      ) from error
    for name, array in zip(row.ours, arrays, strict=True):
      if not np.can_cast(array.dtype, dtypes[name], 'safe'):
        raise ValueError(
            f'{_some(row.theirs)} is {array.dtype}, which does not fit into'
            f' {np.dtype(dtypes[name])} without loss. Convert a file that holds'
            f' {np.dtype(dtypes[name])}.'
        )
      yield name, np.array(array, dtypes[name], order='C', copy=None)


def to_theirs(
    rows: Sequence[Row], read: Callable[[str], np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
  """Converts our arrays, one row at a time; yields official name and array."""
  for row in rows:
    arrays = row.layout.to_theirs([np.asarray(read(name)) for name in row.ours])
    yield from zip(row.theirs, arrays, strict=True)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
  """Whether two arrays have the same bits, shape and dtype."""
  if (a.shape, a.dtype) != (b.shape, b.dtype):
    return False
  bits_a, bits_b = (
      np.ascontiguousarray(x).reshape(-1).view(f'u{x.itemsize}') for x in (a, b)
  )
  return np.array_equal(bits_a, bits_b)


def _some(names: Sequence[str]) -> str:
  more = len(names) - _LISTED
  return ', '.join(names[:_LISTED]) + (f' and {more} more' if more > 0 else '')
