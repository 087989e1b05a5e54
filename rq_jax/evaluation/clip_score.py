"""CLIP score: the cosine between the embeddings of an image and of its text.

It is the plain cosine, as the CLIP-s of the RQ-Transformer's paper. The
CLIPScore of Hessel et al. (EMNLP 2021) is 2.5 max(cosine, 0) instead.
"""

import numpy as np


def cosines(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
  """Cosine of each pair: float[N, E] twice -> float64[N].

  Args:
    images: Embeddings of the images.
    texts: Embeddings of their texts, in the same order.

  Raises:
    ValueError: If the shapes differ, or an embedding is zero or not finite.
  """
  if images.shape != texts.shape or images.ndim != 2:
    raise ValueError(
        f'Embeddings of shape {list(images.shape)} and {list(texts.shape)} do'
        ' not pair images with texts. Give one text for each image.'
    )
  return np.sum(_unit(images, 'image') * _unit(texts, 'text'), axis=1)


def _unit(rows: np.ndarray, name: str) -> np.ndarray:
  """Scales rows to length 1, in float64."""
  rows = rows.astype(np.float64)
  norms = np.linalg.norm(rows, axis=1, keepdims=True)
  wrong = np.flatnonzero(~(np.isfinite(norms[:, 0]) & (norms[:, 0] > 0)))
  if wrong.size:
    raise ValueError(
        f'The embedding of {name} {wrong[0]} has the length'
        f' {norms[wrong[0], 0]}, so its direction is undefined. The weights of'
        ' CLIP may be damaged: convert them again.'
    )
  return rows / norms
