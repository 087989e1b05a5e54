"""Reconstructions of images by depth, for reports."""

import numpy as np

from rq_jax.tokenizer import Tokenizer


def by_depth(
    tokenizer: Tokenizer, codes: np.ndarray, originals: np.ndarray
) -> np.ndarray:
  """Images decoded from 0, 1, ..., D codes of every stack, and the originals.

  Args:
    tokenizer: A trained RQ-VAE.
    codes: int32[B, h, w, D], the codes of the originals.
    originals: uint8[B, S, S, 3].

  Returns:
    uint8[D + 2, B, S, S, 3].
  """
  depth = codes.shape[-1]
  # -1 stands for a missing code: all depths run the same compiled program.
  rows = [
      np.asarray(tokenizer.decode(np.where(np.arange(depth) < d, codes, -1)))
      for d in range(depth + 1)
  ]
  return np.stack([*rows, originals])
