"""Reconstructions by depth are those of the tokenizer."""

import numpy as np

from rq_jax.jobs import reconstructions
from tests import tokenizers


def test_reconstructions_by_depth_end_with_the_originals():
  codes, originals = tokenizers.codes(), tokenizers.images()
  rows = reconstructions.by_depth(tokenizers.restored(), codes, originals)
  assert rows.shape == (tokenizers.DEPTH + 2, *originals.shape)
  np.testing.assert_array_equal(rows[-1], originals)
  for depth in range(1, tokenizers.DEPTH + 1):
    decoded = tokenizers.restored().decode(codes, depth=depth)
    np.testing.assert_allclose(
        rows[depth].astype(int), np.asarray(decoded).astype(int), atol=1
    )
