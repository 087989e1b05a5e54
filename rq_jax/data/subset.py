"""Some examples of a source."""

from collections.abc import Sequence
import dataclasses
from typing import Any

import numpy as np

from rq_jax.data import sources


@dataclasses.dataclass(frozen=True)
class Subset:
  """Some examples of a source, in the order of their indices.

  Attributes:
    source: All examples.
    indices: Indices of the chosen examples, int[n].
  """

  source: sources.Examples
  indices: Sequence[int] | np.ndarray

  def __len__(self) -> int:
    """Number of chosen examples."""
    return len(self.indices)

  def __getitem__(self, index: int) -> dict[str, Any]:
    """An example, by its index among the chosen ones."""
    return self.source[int(self.indices[index])]
