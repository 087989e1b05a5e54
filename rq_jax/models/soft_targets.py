"""How sharp soft targets are, and the temperature that suits some features.

Soft targets are the softmax of -distance/temperature over all codewords
(Section 3.2.3 of the paper). Which temperature is right depends on the scale of
the features, so the paper's 0.5 suits only the features of the paper.

Vectors are folded features, float32[N, C'], one for each position of a code
map. Codebooks are D arrays float32[K, C'], one per depth; a shared codebook is
repeated. Everything here runs once, in NumPy and on the host.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from rq_jax.models import rqvae
from rq_jax.typing import Array, Variables

# The suggested temperature, in multiples of the variance of the features.
_FACTOR = 0.08
# Examples that are enough for the variance, and vectors for the perplexity.
_EXAMPLES, _VECTORS = 256, 1024
# Targets in memory at a time.
_TARGETS = 2**24


def chosen(count: int) -> list[int]:
  """Indices of the examples to measure, spread evenly over `count` of them."""
  return _spread(count, _EXAMPLES)


def of_tokenizer(
    model: rqvae.RQVAE, variables: Variables, features: Array
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
  """The vectors of features float32[B, H, W, C], and the codebooks by depth."""
  quantizer = model.make_quantizer()
  vectors = quantizer.fold(jax.numpy.asarray(features, jax.numpy.float32))
  books: Any = model.apply(variables, method='codebooks')
  books = tuple(np.asarray(book) for book in books)
  depth = model.code_shape[2]
  return (
      np.asarray(vectors).reshape(-1, quantizer.codeword_channels),
      books if len(books) == depth else books * depth,
  )


def suggest_temperature(vectors: Array) -> float:
  """The temperature of `loss.temperature='auto'`: 0.08 times the variance.

  The variance is the mean squared distance of the vectors from their mean, that
  is, summed over channels. The result is rounded to three significant digits,
  so that all processes of a run get the same number.

  Raises:
    ValueError: If the vectors do not vary.
  """
  vectors = np.asarray(vectors, np.float64)
  variance = float(np.var(vectors, axis=0).sum())
  if not variance > 0:
    raise ValueError(
        'The features do not vary, so no temperature fits them. Train the'
        ' tokenizer for longer, or set --config.loss.temperature to a number.'
    )
  return float(f'{_FACTOR * variance:.3g}')


def target_perplexity(
    vectors: Array,
    codebooks: Sequence[Array],
    temperature: float,
    *,
    seed: int = 0,
) -> np.ndarray:
  """Perplexity of the soft targets by depth: float64[D].

  It is the exponential of the mean entropy: 1 for targets that are one-hot, K
  for targets that are uniform. As in training, each residual follows from a
  code that was drawn from the targets of the depth before.

  Args:
    vectors: Folded features, float32[N, C']. At most 1024 of them are used.
    codebooks: Codewords by depth, each float32[K, C'].
    temperature: Temperature of the targets.
    seed: Seed of the draws.
  """
  rng = np.random.default_rng(seed)
  vectors = np.asarray(vectors, np.float64)
  vectors = vectors[_spread(len(vectors), _VECTORS)]
  words = [np.asarray(book, np.float64) for book in codebooks]
  rows = max(1, _TARGETS // max(len(book) for book in words))
  entropies = np.zeros(len(words))
  for start in range(0, len(vectors), rows):
    residual = vectors[start : start + rows]
    for d, book in enumerate(words):
      targets = _targets(residual, book, temperature)
      logs = np.log(np.maximum(targets, 1e-300))
      entropies[d] -= np.sum(targets * logs)
      edges = np.cumsum(targets, axis=1)
      draws = rng.random((len(residual), 1)) * edges[:, -1:]
      codes = np.sum(edges <= draws, axis=1)
      residual = residual - book[np.minimum(codes, len(book) - 1)]
  return np.exp(entropies / len(vectors))


def _spread(count: int, wanted: int) -> list[int]:
  wanted = min(count, wanted)
  return [i * count // wanted for i in range(wanted)]


def _targets(
    residual: np.ndarray, book: np.ndarray, temperature: float
) -> np.ndarray:
  """Soft targets: float64[N, C'], float64[K, C'] -> float64[N, K]."""
  # |residual|^2 is the same for all codewords, so it drops out.
  scores = 2 * residual @ book.T - np.sum(np.square(book), axis=1)
  scores = (scores - np.max(scores, axis=1, keepdims=True)) / temperature
  targets = np.exp(scores)
  return targets / np.sum(targets, axis=1, keepdims=True)
