"""A subset has the examples at the given indices, in their order."""

import pickle

import numpy as np
import pytest

from rq_jax.data import subset


@pytest.mark.parametrize('indices', [[5, 2, 2], np.array([5, 2, 2])])
def test_a_subset_has_the_examples_at_the_indices(indices):
  chosen = subset.Subset([{'label': i} for i in range(9)], indices)
  for copy in (chosen, pickle.loads(pickle.dumps(chosen))):
    assert [copy[i]['label'] for i in range(len(copy))] == [5, 2, 2]


def test_a_range_of_indices_has_an_end():
  first = subset.Subset([{'label': i} for i in range(9)], range(4))
  assert len(first) == 4
  with pytest.raises(IndexError):
    first[4]
