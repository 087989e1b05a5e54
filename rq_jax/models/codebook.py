"""A codebook: nearest codewords, and updates by moving averages."""

import math

import flax.struct
import jax
import jax.numpy as jnp

# Codewords that are compared at a time, to limit the matrix of scores.
_BLOCK = 4096


@flax.struct.dataclass
class Codebook:
  """Codewords and the moving averages they are estimated from."""

  embedding: jax.Array  # float32[K, C], the codewords.
  count: jax.Array  # float32[K], averaged number of vectors per codeword.
  total: jax.Array  # float32[K, C], averaged sum of these vectors.


def init(rng: jax.Array, size: int, channels: int) -> Codebook:
  """Returns a codebook of normally distributed codewords, never chosen yet.

  The official code starts `total` at the codewords although `count` is 0, so
  its first update mixes two scales. Here both averages start at 0.
  """
  return Codebook(
      embedding=jax.random.normal(rng, (size, channels), jnp.float32),
      count=jnp.zeros((size,), jnp.float32),
      total=jnp.zeros((size, channels), jnp.float32),
  )


def squared_distances(x: jax.Array, embedding: jax.Array) -> jax.Array:
  """Squared distance to every codeword: [..., C], [K, C] -> float32[..., K]."""
  return (
      jnp.sum(jnp.square(x), axis=-1, keepdims=True)
      - 2 * _products(x, embedding)
      + _row(jnp.sum(jnp.square(embedding), axis=-1), x)
  )


def nearest(x: jax.Array, embedding: jax.Array) -> jax.Array:
  """Index of the closest codeword: [..., C], [K, C] -> int32[...].

  The closest codeword has the largest x.e - |e|^2/2. Large codebooks are
  searched in blocks, so that no array [..., K] is ever stored.
  """
  size, channels = embedding.shape
  if size <= _BLOCK:
    return _highest(_scores(x, embedding))

  blocks = math.ceil(size / _BLOCK)
  # Padding repeats the first codeword. On a tie, the first index wins.
  order = jnp.arange(blocks * _BLOCK, dtype=jnp.int32)
  padded = embedding[jnp.where(order < size, order, 0)]

  def search(best, block):
    first, words = block
    scores = _scores(x, words)
    index = _highest(scores)
    score = jnp.max(scores, axis=-1)
    better = score > best[0]
    return (
        jnp.where(better, score, best[0]),
        jnp.where(better, first + index, best[1]),
    ), None

  start = (
      jnp.full(x.shape[:-1], -jnp.inf, jnp.float32),
      jnp.zeros(x.shape[:-1], jnp.int32),
  )
  (_, index), _ = jax.lax.scan(
      search,
      start,
      (order[::_BLOCK], padded.reshape(blocks, _BLOCK, channels)),
  )
  return index


def move(
    codebook: Codebook,
    vectors: jax.Array,
    codes: jax.Array,
    *,
    decay: float,
    rng: jax.Array | None,
    threshold: float,
    relative: bool,
) -> Codebook:
  """Moves every codeword towards the mean of the vectors that chose it.

  Sums over a sharded batch are global under `jit`.

  Args:
    codebook: The codebook to move.
    vectors: The vectors that were quantized, float32[..., C]. If devices split
      a dimension of them, merging it with others would gather all vectors on
      every device.
    codes: The codeword that each vector chose, int32[...].
    decay: Decay of the moving averages.
    rng: Key that draws the vectors that replace unused codewords; None to
      replace none.
    threshold: Usage below which a codeword counts as unused.
    relative: Whether `threshold` is in units of the mean usage.

  Returns:
    The moved codebook.
  """
  size = len(codebook.count)
  hits = jnp.zeros((size,), jnp.float32).at[codes].add(1.0)
  sums = jnp.zeros_like(codebook.total).at[codes].add(vectors)
  count = decay * codebook.count + (1 - decay) * hits
  total = decay * codebook.total + (1 - decay) * sums
  if rng is not None:
    # A re-drawn codeword starts with the mean usage or, under the official
    # rule, with a usage of 1.
    fresh_count = jnp.mean(count) if relative else jnp.ones((), jnp.float32)
    unused = count < (threshold * jnp.mean(count) if relative else threshold)
    fresh = _draw_vectors(rng, vectors, size) * fresh_count
    count = jnp.where(unused, fresh_count, count)
    total = jnp.where(unused[:, None], fresh, total)
  moved = total / _smoothed(count)[:, None]
  # A codeword that no vector ever chose stays where it is.
  embedding = jnp.where(count[:, None] > 0, moved, codebook.embedding)
  return Codebook(embedding, count, total)


def usage(codes: jax.Array, size: int) -> jax.Array:
  """Share of each codeword among the codes: int32[...] -> float32[K]."""
  hits = jax.ops.segment_sum(
      jnp.ones(codes.size, jnp.float32), codes.reshape(-1), size
  )
  return hits / codes.size


def perplexity(shares: jax.Array) -> jax.Array:
  """Exponential of the entropy of a distribution: float32[K] -> float32[]."""
  return jnp.exp(jnp.sum(jax.scipy.special.entr(shares)))


def _scores(x: jax.Array, embedding: jax.Array) -> jax.Array:
  half_norms = jnp.sum(jnp.square(embedding), axis=-1) / 2
  return _products(x, embedding) - _row(half_norms, x)


def _highest(scores: jax.Array) -> jax.Array:
  return jax.lax.argmax(scores, scores.ndim - 1, jnp.int32)


def _products(x: jax.Array, embedding: jax.Array) -> jax.Array:
  # Rounding the inputs to bfloat16 or TF32 would change 0.5 % of the codes.
  return jnp.matmul(x, embedding.T, precision=jax.lax.Precision.HIGHEST)


def _row(values: jax.Array, like: jax.Array) -> jax.Array:
  return values.reshape((1,) * (like.ndim - 1) + (-1,))


def _draw_vectors(rng: jax.Array, vectors: jax.Array, size: int) -> jax.Array:
  """Draws vectors without replacement; repeats too few of them with noise."""
  rng_order, rng_noise = jax.random.split(rng)
  *shape, channels = vectors.shape
  count = math.prod(shape)
  if count < size:
    repeats = math.ceil(size / count)
    vectors = jnp.tile(vectors.reshape(-1, channels), (repeats, 1))
    noise = jax.random.uniform(rng_noise, vectors.shape, jnp.float32)
    vectors = vectors + noise * (0.01 / math.sqrt(channels))
  shape = vectors.shape[:-1]
  rows = jnp.arange(math.prod(shape), dtype=jnp.int32)
  order = jax.random.permutation(rng_order, rows)
  return vectors[jnp.unravel_index(order[:size], shape)]


def _smoothed(count: jax.Array, eps: float = 1e-5) -> jax.Array:
  """Laplace-smooths counts without changing their sum."""
  n = jnp.sum(count)
  return n * (count + eps) / (n + len(count) * eps)
