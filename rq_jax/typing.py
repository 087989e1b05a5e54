"""The types of the package, and the letters that its shapes are written with.

Docstrings and trailing comments use these letters:

  B  batch                      K  codebook size (= vocabulary)
  Y X  image, in pixels         C  channels of a codeword
  H W  code map                 E  width of a transformer
  T  positions, T = H * W       N  attention heads
  D  depth of a code stack      M  width of an MLP
  L  layers                     V  views of an image
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import numpy as np

PyTree: TypeAlias = Any
Array: TypeAlias = jax.Array | np.ndarray
# A `jax.Device`, for whose module jaxlib brings no types.
Device: TypeAlias = Any
# A Flax variable tree: {'params': ..., 'codebook': ...}.
Variables: TypeAlias = Mapping[str, Any]
# One batch of examples, by name: {'image': [B, ...], 'label': [B]}.
Batch: TypeAlias = Mapping[str, jax.Array]
# The scalar metrics of one step, by name.
Metrics: TypeAlias = dict[str, jax.Array]
