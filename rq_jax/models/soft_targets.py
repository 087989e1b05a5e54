"""Measures how sharp soft targets are, and suggests a temperature for them.

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

# Perplexity of the targets of the first depth at the suggested temperature.
_PERPLEXITY = 4.0
_HALVINGS = 20
# Examples that are enough for the variance, and vectors for the perplexity.
_EXAMPLES, _VECTORS = 256, 1024


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


def suggest_temperature(vectors: Array, codebooks: Sequence[Array]) -> float:
  """The temperature of `loss.temperature='auto'`.

  At this temperature, the targets of the first depth have a perplexity of 4, or
  of (K + 1)/2 if that is less: on average, a target is spread over four
  codewords. Later depths have smaller residuals, so their targets are softer.
  The result is rounded to three significant digits, so that all processes of a
  run get the same number.

  Args:
    vectors: Folded features, float32[N, C']. At most 1024 of them are used.
    codebooks: Codewords by depth; only the first codebook counts.

  Raises:
    ValueError: If no temperature fits, because there are fewer than two
      different codewords.
  """
  book = np.asarray(codebooks[0], np.float64)
  scores = _scores(_sample(vectors), book)
  # Perplexity rises with the temperature. The search halves the range of its
  # logarithm, from targets that are one-hot to targets that are uniform.
  scale = float(np.mean(-scores))
  wanted = min(_PERPLEXITY, (len(book) + 1) / 2)
  low, high = np.log(1e-9), np.log(1e3)
  if not scale > 0 or len(book) < 2:
    raise ValueError(
        'No temperature fits these soft targets, because the codewords do not'
        ' differ. Train the tokenizer for longer, or set'
        ' --config.loss.temperature to a number.'
    )
  for _ in range(_HALVINGS):
    middle = (low + high) / 2
    found = np.exp(np.mean(_entropies(scores, scale * np.exp(middle))))
    low, high = (low, middle) if found > wanted else (middle, high)
  return float(f'{scale * np.exp((low + high) / 2):.3g}')


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
  residual, found = _sample(vectors), []
  for book in codebooks:
    words = np.asarray(book, np.float64)
    scores = _scores(residual, words)
    found.append(np.exp(np.mean(_entropies(scores, temperature))))
    edges = np.cumsum(np.exp(scores / temperature), axis=1)
    draws = rng.random((len(residual), 1)) * edges[:, -1:]
    codes = np.sum(edges <= draws, axis=1)
    residual = residual - words[np.minimum(codes, len(words) - 1)]
  return np.array(found)


def _sample(vectors: Array) -> np.ndarray:
  """At most 1024 vectors, spread over all of them: float64[n, C']."""
  vectors = np.asarray(vectors, np.float64)
  return vectors[_spread(len(vectors), _VECTORS)]


def _spread(count: int, wanted: int) -> list[int]:
  wanted = min(count, wanted)
  return [i * count // wanted for i in range(wanted)]


def _scores(residual: np.ndarray, words: np.ndarray) -> np.ndarray:
  """Negative squared distances, plus the smallest one: -> float64[N, K]."""
  # |residual|^2 is the same for all codewords, so it drops out.
  scores = 2 * residual @ words.T - np.sum(np.square(words), axis=1)
  return scores - np.max(scores, axis=1, keepdims=True)


def _entropies(scores: np.ndarray, temperature: float) -> np.ndarray:
  """Entropy of each row of soft targets: float64[N, K] -> float64[N]."""
  logits = scores / temperature
  weights = np.exp(logits)
  total = np.sum(weights, axis=1)
  return np.log(total) - np.sum(weights * logits, axis=1) / total
