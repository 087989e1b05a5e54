import functools

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.models import codebook

SIZE, CHANNELS = 10, 4

assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)


def normal(*shape, seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=shape).astype(np.float32)


def distances(x, words):
  x, words = np.float64(x), np.float64(words)
  return np.square(x[..., None, :] - words).sum(-1)


def some_book(seed=1):
  rng = np.random.default_rng(seed)
  return codebook.Codebook(
      embedding=jnp.asarray(normal(SIZE, CHANNELS, seed=seed)),
      count=jnp.asarray(rng.uniform(0.5, 5, SIZE).astype(np.float32)),
      total=jnp.asarray(normal(SIZE, CHANNELS, seed=seed + 1)),
  )


def move(book, vectors, codes, decay=0.9, rng=None, threshold=0.1, rel=True):
  run = functools.partial(codebook.move, threshold=threshold, relative=rel)
  return jax.jit(run)(book, vectors, codes, decay=decay, rng=rng)


def averages(book, vectors, codes, decay):
  """Counts and totals after a move, in NumPy."""
  hits = np.bincount(codes, minlength=len(book.count))
  sums = np.zeros(book.total.shape)
  np.add.at(sums, codes, vectors)
  count = decay * np.float64(book.count) + (1 - decay) * hits
  return count, decay * np.float64(book.total) + (1 - decay) * sums


def words_of(count, total):
  """Codewords from averages, with Laplace-smoothed counts, in NumPy."""
  n, eps = count.sum(), 1e-5
  return total / (n * (count + eps) / (n + len(count) * eps))[:, None]


def test_distances_equal_those_of_numpy():
  x, words = normal(3, 5, CHANNELS), normal(SIZE, CHANNELS, seed=1)
  assert_close(
      jax.jit(codebook.squared_distances)(x, words), distances(x, words)
  )


@pytest.mark.parametrize('block', [4096, 10, 5, 4, 3])
def test_the_nearest_codeword_has_the_smallest_distance(monkeypatch, block):
  # Blocks of 5 need no padding; blocks of 4 and 3 do.
  monkeypatch.setattr(codebook, '_BLOCK', block)
  x, words = normal(40, 5, CHANNELS), normal(SIZE, CHANNELS, seed=1)
  expected = distances(x, words).argmin(-1)
  assert set(expected.flat) == set(range(SIZE))
  actual = jax.jit(lambda *args: codebook.nearest(*args))(x, words)
  assert actual.dtype == jnp.int32
  np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize('block', [4096, 4])
def test_the_first_of_equally_near_codewords_is_chosen(monkeypatch, block):
  monkeypatch.setattr(codebook, '_BLOCK', block)
  words = np.tile(normal(2, CHANNELS), (5, 1))
  np.testing.assert_array_equal(codebook.nearest(words, words), [0, 1] * 5)


def test_codewords_start_normal_and_unchosen():
  book = codebook.init(jax.random.key(0), 2000, CHANNELS)
  assert book.embedding.shape == book.total.shape == (2000, CHANNELS)
  # Five standard errors of a mean of 8000 numbers.
  assert abs(book.embedding.mean()) < 0.06
  assert abs(book.embedding.std() - 1) < 0.04
  assert not book.count.any() and not book.total.any()


def test_a_move_averages_as_numpy_does():
  book, vectors = some_book(), normal(60, CHANNELS, seed=5)
  codes = np.random.default_rng(2).integers(SIZE, size=60)
  count, total = averages(book, vectors, codes, 0.9)
  moved = move(book, vectors, codes)
  assert_close(moved.count, count)
  assert_close(moved.total, total)
  assert_close(moved.embedding, words_of(count, total))


def test_a_first_move_goes_to_the_mean_and_leaves_the_unchosen():
  book = codebook.init(jax.random.key(0), SIZE, CHANNELS)
  vectors = normal(30, CHANNELS)
  codes = np.arange(30) % 3
  moved = move(book, vectors, codes)
  for k in range(3):
    # Smoothing the counts moves codewords slightly off the means.
    np.testing.assert_allclose(
        moved.embedding[k], vectors[k::3].mean(0), rtol=1e-3, atol=1e-3
    )
  np.testing.assert_array_equal(moved.embedding[3:], book.embedding[3:])
  assert not moved.count[3:].any()


@pytest.mark.parametrize('threshold', [0.1, 0.8])
def test_codewords_used_too_little_are_drawn_from_the_batch(threshold):
  book, vectors = some_book(), normal(60, CHANNELS, seed=5)
  codes = np.random.default_rng(3).integers(5, size=60)
  book = book.replace(count=book.count.at[7:].set(0.1))
  count, total = averages(book, vectors, codes, 0.9)
  unused = count < threshold * count.mean()
  assert unused[7:].all() and not unused.all()

  moved = move(book, vectors, codes, rng=jax.random.key(1), threshold=threshold)
  # Used codewords move as always; re-drawn ones have the mean usage.
  expected = np.where(unused, count.mean(), count)
  assert_close(moved.count, expected)
  assert_close(moved.total[~unused], total[~unused])
  fresh = np.asarray(moved.embedding)[unused]
  gaps = distances(fresh, vectors)
  # They equal vectors of the batch, except for smoothing of counts, 1e-5.
  assert gaps.min(-1).max() < 1e-6
  assert len(set(gaps.argmin(-1))) == unused.sum()
  assert_close(moved.embedding, words_of(expected, np.float64(moved.total)))


def test_the_absolute_rule_counts_a_drawn_vector_once():
  book, vectors = some_book(), normal(60, CHANNELS, seed=5)
  book = book.replace(count=jnp.asarray([0.5] * 4 + [3.0] * 6))
  codes = np.full(60, 8)
  moved = move(
      book, vectors, codes, rng=jax.random.key(1), threshold=1.0, rel=False
  )
  expected = [1.0] * 4 + [2.7] * 4 + [8.7, 2.7]
  assert_close(moved.count, expected)
  assert distances(moved.total[:4], vectors).min(-1).max() == 0


def test_different_keys_draw_different_vectors():
  book, vectors = some_book(), normal(60, CHANNELS, seed=5)
  codes = np.zeros(60, int)
  first, second, again = (
      move(book, vectors, codes, rng=jax.random.key(k), threshold=0.9)
      for k in (1, 2, 1)
  )
  assert (first.total != second.total).any()
  np.testing.assert_array_equal(first.total, again.total)


def test_too_few_vectors_are_repeated_with_noise():
  vectors = normal(3, CHANNELS)
  book = codebook.init(jax.random.key(0), SIZE, CHANNELS)
  moved = move(
      book, vectors, np.zeros(3, int), rng=jax.random.key(1), threshold=0.5
  )
  fresh = np.asarray(moved.total)[1:] / np.asarray(moved.count)[1:, None]
  gaps = fresh[:, None] - vectors  # [K - 1, 3, C]
  nearest = np.abs(gaps).max(-1).argmin(-1)
  noise = gaps[np.arange(SIZE - 1), nearest]
  # Uniform noise of up to 0.01 / sqrt(4), and rounding.
  assert noise.min() > -1e-5 and noise.max() < 0.005 + 1e-5
  assert noise.max() > 0.004
  assert set(nearest) == {0, 1, 2}
  assert len(np.unique(fresh, axis=0)) == SIZE - 1


def test_usage_is_the_share_of_each_codeword():
  shares = codebook.usage(jnp.asarray([[0, 1, 1], [3, 3, 3]]), 5)
  assert_close(shares, [1 / 6, 2 / 6, 0, 3 / 6, 0])


def test_perplexity_counts_the_codewords_in_use():
  assert_close(codebook.perplexity(jnp.full(8, 1 / 8)), 8)
  assert_close(codebook.perplexity(jnp.eye(8)[2]), 1)
  # Two thirds and a third: exp(log 3 - 2/3 log 2).
  halves = jnp.asarray([2 / 3, 0, 1 / 3])
  assert_close(codebook.perplexity(halves), 3 / 2 ** (2 / 3))


def test_vectors_may_have_several_dimensions():
  vectors, book = normal(2, 8, 3, CHANNELS), some_book()
  codes = np.random.default_rng(3).integers(SIZE, size=(2, 8, 3))
  # Some codewords restart at drawn vectors.
  options = dict(rng=jax.random.key(0), threshold=0.9)
  found = move(book, vectors, codes, **options)
  flat = vectors.reshape(-1, CHANNELS), codes.reshape(-1)
  expected = move(book, *flat, **options)
  assert (found.embedding == expected.embedding).all()
  assert (found.total == expected.total).all()
  rows = {tuple(row) for row in np.round(flat[0], 4)}
  drawn = np.round(np.asarray(found.total / found.count[:, None]), 4)
  restarted = [tuple(row) in rows for row in drawn]
  assert any(restarted) and not all(restarted)


def test_no_device_gathers_the_vectors_of_the_others():
  mesh = partitioning.make_mesh(dict(data=8))
  batch = NamedSharding(mesh, PartitionSpec(None, 'data'))
  vectors = jax.device_put(normal(2, 8, 3, CHANNELS), batch)
  codes = jax.device_put(np.zeros((2, 8, 3), np.int32), batch)
  run = jax.jit(
      functools.partial(codebook.move, threshold=0.1, relative=True),
      out_shardings=partitioning.replicated(mesh),
  )
  program = run.lower(
      some_book(), vectors, codes, decay=0.9, rng=jax.random.key(0)
  ).compile()
  text = program.as_text()
  assert 'all-reduce' in text and 'all-gather' not in text
  assert 'f32[2,8,3,' not in text and 'f32[48,' not in text
