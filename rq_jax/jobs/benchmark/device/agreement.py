"""Whether a kernel computes its plain form, up to rounding."""

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.typing import PyTree

# Largest difference that is rounding, relative to the largest number of an
# array. float32: sums of 6,144 products in another order differ by about 5e-6
# of a usual sum, and the largest sum is several times as large. TF32 would
# differ by 2e-4. bfloat16: a result that is rounded to the other neighbour
# differs by up to 8e-3. Queries, keys and weights that were rounded before can
# add about as much.
_NUMBERS = {'float32': 1e-5, 'bfloat16': 2e-2}
# Share of codes that may differ. Rounding can move a sum across the level of a
# draw. On a CPU, this changed 1 of 2,000 codes of a codebook of 16,384. One of
# eight rows may differ; a wrong kernel draws other codes in most rows.
_CODES = 1 / 8


def check(
    found: tuple[PyTree, PyTree],
    expected: tuple[PyTree, PyTree],
    state: PyTree,
    dtype: str,
) -> dict[str, float]:
  """How far a kernel is from its plain form.

  Args:
    found: Results and state of the kernel.
    expected: Results and state of the plain form.
    state: The state before. Numbers that neither of them changed do not count.
    dtype: Type of the computation.

  Returns:
    'difference': the largest one of any array; of numbers, relative to the
    largest number of the plain form; of codes, the share that differs.
    'tolerance': the largest difference that is rounding. 'share_equal': the
    share of equal numbers in all arrays together.

  Raises:
    ValueError: If a number is not finite, or the difference is too large.
  """
  results, states = zip(found, expected, strict=True)
  pairs = [*zip(*map(_arrays, results), strict=True)]
  for arrays in zip(*map(_arrays, (*states, state)), strict=True):
    pairs.append(_changed(*arrays))
  differences = [_difference(*pair) for pair in pairs]
  worst = int(np.argmax(differences))  # NaN counts as the largest.
  difference = float(differences[worst])
  tolerance = _CODES if _are_codes(pairs[worst][1]) else _NUMBERS[dtype]
  if not difference <= tolerance:
    raise ValueError(
        f'The difference of array {worst + 1} of {len(pairs)} from the plain'
        f' form is {difference:.2g}. Rounding explains at most {tolerance:g}.'
    )
  return {
      'difference': difference,
      'tolerance': tolerance,
      'share_equal': float(np.mean(np.concatenate([a == b for a, b in pairs]))),
  }


def _arrays(tree: PyTree) -> list[np.ndarray]:
  """All arrays, each as one row: codes, or numbers in float64."""
  return [
      np.asarray(
          x, None if jnp.issubdtype(x.dtype, jnp.integer) else float
      ).ravel()
      for x in jax.tree.leaves(tree)
  ]


def _changed(
    found: np.ndarray, expected: np.ndarray, before: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The numbers of both that differ from those before in either."""
  changed = (found != before) | (expected != before)
  return found[changed], expected[changed]


def _are_codes(array: np.ndarray) -> bool:
  return np.issubdtype(array.dtype, np.integer)


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
  if _are_codes(expected):
    return np.mean(found != expected)
  for name, array in (('kernel', found), ('plain form', expected)):
    if count := np.count_nonzero(~np.isfinite(array)):
      raise ValueError(
          f'{count} of {array.size} numbers of the {name} are not finite.'
      )
  return np.abs(found - expected).max() / np.abs(expected).max()
