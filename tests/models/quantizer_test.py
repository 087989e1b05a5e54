import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import codebook
from rq_jax.models import quantizer

SHARED = quantizer.ResidualQuantizer((4, 4, 6), (4, 4, 3), 8, restart='off')
UNSHARED = quantizer.ResidualQuantizer(
    (4, 4, 6),
    (2, 4, 3),
    (8, 6, 5),
    shared_codebook=False,
    decay=(0.9, 0.8, 0.7),
    restart='off',
)
DEPTH = quantizer.ResidualQuantizer(
    (4, 4, 6), (4, 4, 3), 8, codebook_update='depth', restart='off'
)
RESTARTED = quantizer.ResidualQuantizer((4, 4, 6), (4, 4, 3), 8)

assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)


def features(seed=0):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(5, 4, 4, 6)).astype(np.float32)


@functools.cache
def books(module):
  """Codebooks in use: with counts, and codewords of different sizes."""
  rng = np.random.default_rng(1)
  channels = module.codeword_channels
  names = (
      ['shared']
      if module.shared_codebook
      else [f'depth_{d}' for d in range(module.depth)]
  )
  return {
      name: codebook.Codebook(
          *(
              jnp.asarray(x, jnp.float32)
              for x in (
                  rng.normal(size=(size, channels)),
                  rng.uniform(1, 3, size),
                  rng.normal(size=(size, channels)),
              )
          )
      )
      for name, size in zip(names, module.sizes, strict=False)
  }


@functools.cache
def _train(module):
  @jax.jit
  def train(books, z, rng):
    return module.apply(
        {'codebook': books},
        z,
        train=True,
        mutable=['codebook'],
        rngs={'codebook': rng},
    )

  return train


def train(module, z):
  quantized, moved = _train(module)(books(module), z, jax.random.key(3))
  return quantized, moved['codebook']


@functools.cache
def _apply(module, method='__call__', **options):
  return jax.jit(functools.partial(module.apply, method=method, **options))


def apply(module, *args, method='__call__', **options):
  run = _apply(module, method, **options)
  return run({'codebook': books(module)}, *args)


def words(module, codes):
  """Codewords by depth, float[..., D, C'], in NumPy."""
  tables = [np.asarray(b.embedding) for b in books(module).values()]
  return np.stack(
      [tables[d % len(tables)][codes[..., d]] for d in range(module.depth)],
      axis=-2,
  )


def residuals(module, vectors, codes):
  """What each depth quantized, float[..., D, C'], in NumPy."""
  sums = words(module, codes).cumsum(-2)
  before = np.concatenate([np.zeros_like(sums[..., :1, :]), sums], -2)
  return vectors[..., None, :] - before[..., :-1, :]


@pytest.mark.parametrize('module', [SHARED, UNSHARED])
def test_each_depth_chooses_the_nearest_to_what_is_left(module):
  codes = np.asarray(apply(module, features()).codes)
  vectors = np.asarray(module.fold(features()))
  left = residuals(module, vectors, codes)
  tables = [np.asarray(b.embedding) for b in books(module).values()]
  for d in range(module.depth):
    table = tables[d % len(tables)]
    distances = np.square(left[..., d, None, :] - table).sum(-1)
    np.testing.assert_array_equal(codes[..., d], distances.argmin(-1))


@pytest.mark.parametrize('module', [SHARED, UNSHARED])
def test_a_reconstruction_is_the_sum_of_its_codewords(module):
  quantized = apply(module, features())
  sums = words(module, np.asarray(quantized.codes)).sum(-2)
  assert_close(quantized.features, module.unfold(sums))
  embedded = apply(module, quantized.codes, method='embed')
  assert_close(embedded.sum(-2), sums)


@pytest.mark.parametrize('module', [SHARED, UNSHARED])
def test_losses_are_those_of_the_partial_sums(module):
  quantized = apply(module, features())
  vectors = module.fold(features())
  sums = words(module, np.asarray(quantized.codes)).cumsum(-2)
  errors = np.square(vectors[..., None, :] - sums)
  assert_close(quantized.commitment_loss, errors.mean())
  variance = np.var(np.float64(vectors), axis=(0, 1, 2)).mean()
  assert_close(quantized.error, errors[..., -1, :].mean() / variance)


def test_gradients_pass_straight_through():
  upstream = features(1)

  def output(z):
    return jnp.sum(apply(SHARED, z).features * upstream)

  assert_close(jax.grad(output)(features()), upstream)


def test_the_loss_pulls_features_to_the_partial_sums():
  def loss(z):
    return apply(SHARED, z).commitment_loss

  codes = np.asarray(apply(SHARED, features()).codes)
  sums = words(SHARED, codes).cumsum(-2)
  pull = 2 * (features()[..., None, :] - sums).mean(-2) / features().size
  assert_close(jax.grad(loss)(features()) * 1e3, pull * 1e3)


@pytest.mark.parametrize('module', [SHARED, UNSHARED])
def test_codes_in_training_are_those_of_evaluation(module):
  quantized, moved = train(module, features())
  evaluated = apply(module, features())
  np.testing.assert_array_equal(quantized.codes, evaluated.codes)
  assert_close(quantized.features, evaluated.features)
  for name, book in books(module).items():
    assert (moved[name].embedding != book.embedding).any()


def test_the_per_depth_rule_shows_later_depths_the_moved_codewords():
  quantized, _ = train(DEPTH, features())
  evaluated = apply(DEPTH, features())
  np.testing.assert_array_equal(
      quantized.codes[..., 0], evaluated.codes[..., 0]
  )
  assert (quantized.codes[..., 1:] != evaluated.codes[..., 1:]).any()


def _averages(book, vectors, codes, decay):
  count = decay * np.asarray(book.count)
  total = decay * np.asarray(book.total)
  np.add.at(count, codes, 1 - decay)
  np.add.at(total, codes, (1 - decay) * vectors)
  return count, total


def test_one_step_averages_over_all_depths_at_once():
  quantized, moved = train(SHARED, features())
  codes = np.asarray(quantized.codes)
  left = residuals(SHARED, features(), codes)
  count, total = _averages(
      books(SHARED)['shared'], left.reshape(-1, 6), codes.reshape(-1), 0.99
  )
  assert_close(moved['shared'].count, count)
  assert_close(moved['shared'].total, total)
  # Counts are about 2: smoothing them by 1e-5 changes 1e-5 of a codeword.
  np.testing.assert_allclose(
      moved['shared'].embedding, total / count[:, None], 1e-4, 1e-4
  )


def test_codebooks_of_their_own_average_over_their_own_depth():
  quantized, moved = train(UNSHARED, features())
  codes = np.asarray(quantized.codes)
  left = residuals(UNSHARED, np.asarray(UNSHARED.fold(features())), codes)
  for d, decay in enumerate(UNSHARED.decay):
    count, total = _averages(
        books(UNSHARED)[f'depth_{d}'],
        left[..., d, :].reshape(-1, 12),
        codes[..., d].reshape(-1),
        decay,
    )
    assert_close(moved[f'depth_{d}'].count, count)
    assert_close(moved[f'depth_{d}'].total, total)


def test_unused_codewords_become_residuals_of_the_batch():
  book = books(RESTARTED)['shared']
  unused = np.arange(8) % 2 == 1
  # Codewords out of reach, of hardly any usage.
  book = codebook.Codebook(
      embedding=jnp.where(unused[:, None], 100.0, book.embedding),
      count=jnp.where(unused, 0.01, book.count),
      total=book.total,
  )
  quantized, moved = _train(RESTARTED)(
      {'shared': book}, features(), jax.random.key(3)
  )
  codes = np.asarray(quantized.codes)
  assert not np.isin(codes, np.flatnonzero(unused)).any()
  table = np.asarray(book.embedding)
  sums = table[codes].cumsum(-2)
  left = features()[..., None, :] - (sums - table[codes])
  embedding = np.asarray(moved['codebook']['shared'].embedding)
  gaps = np.abs(embedding[unused][:, None] - left.reshape(-1, 6)).max(-1)
  assert gaps.min(-1).max() < 1e-4
  count, total = _averages(book, left.reshape(-1, 6), codes.reshape(-1), 0.99)
  np.testing.assert_allclose(
      embedding[~unused], (total / count[:, None])[~unused], 1e-4, 1e-4
  )


def test_neither_evaluation_nor_initialization_moves_the_codebook():
  @jax.jit
  def initialize(z):
    return RESTARTED.init({'params': jax.random.key(0)}, z, train=True)

  book = initialize(features())['codebook']['shared']
  assert not book.count.any() and not book.total.any()
  _, after = jax.jit(
      lambda books, z: RESTARTED.apply(
          {'codebook': books}, z, mutable=['codebook']
      )
  )(books(RESTARTED), features())
  jax.tree.map(
      np.testing.assert_array_equal, after['codebook'], books(RESTARTED)
  )


def test_codebooks_are_listed_by_depth():
  actual = UNSHARED.apply({'codebook': books(UNSHARED)}, method='codebooks')
  assert [len(table) for table in actual] == [8, 6, 5]
  for d, table in enumerate(actual):
    np.testing.assert_array_equal(
        table, books(UNSHARED)[f'depth_{d}'].embedding
    )


@pytest.mark.parametrize('code_shape', [(4, 4), (2, 4), (4, 2), (1, 2)])
def test_unfolding_undoes_folding(code_shape):
  module = quantizer.ResidualQuantizer((4, 4, 6), (*code_shape, 1), 8)
  z = features()
  folded = np.asarray(module.fold(z))
  np.testing.assert_array_equal(module.unfold(folded), z)
  h, w = 4 // code_shape[0], 4 // code_shape[1]
  for i in range(code_shape[0]):
    for j in range(code_shape[1]):
      patch = z[:, i * h : (i + 1) * h, j * w : (j + 1) * w]
      np.testing.assert_array_equal(folded[:, i, j], patch.reshape(5, -1))


def test_soft_codes_without_draws_are_the_codes():
  for module in (SHARED, UNSHARED):
    vectors = module.fold(features())
    codes, left = apply(module, vectors, method='soft_codes', temperature=1.0)
    np.testing.assert_array_equal(codes, apply(module, features()).codes)
    assert_close(left, residuals(module, vectors, np.asarray(codes)))


def test_codes_are_drawn_by_their_distances_and_residuals_follow_them():
  uniforms = np.random.default_rng(4).random((4000, 3), np.float32)
  vectors = np.tile(features()[0, 0, 0], (4000, 1))

  @jax.jit
  def draw(vectors, uniforms):
    codes, left = SHARED.apply(
        {'codebook': books(SHARED)},
        vectors,
        temperature=3.0,
        uniforms=uniforms,
        method='soft_codes',
    )
    return (
        codes,
        left,
        SHARED.apply(
            {'codebook': books(SHARED)},
            left,
            temperature=3.0,
            method='target_logits',
        ),
    )

  codes, left, logits = (np.asarray(x) for x in draw(vectors, uniforms))
  assert_close(left, residuals(SHARED, vectors, codes))
  table = np.asarray(books(SHARED)['shared'].embedding)
  assert_close(logits, -np.square(left[..., None, :] - table).sum(-1) / 3.0)
  # At every depth, draws follow the targets of the residuals they were given.
  targets = np.asarray(jax.nn.softmax(logits))
  expected = targets.sum(0)
  for d in range(3):
    observed = np.bincount(codes[:, d], minlength=8)
    chi_square = (observed - expected[d]) ** 2 / expected[d]
    # The 99.9th percentile of 7 degrees of freedom.
    assert chi_square.sum() < 24.3


def test_missing_codewords_are_no_targets():
  left = np.zeros((2, 3, 12), np.float32)
  logits = apply(UNSHARED, left, method='target_logits', temperature=0.5)
  assert logits.shape == (2, 3, 8)
  for d, size in enumerate((8, 6, 5)):
    assert np.isfinite(logits[:, d, :size]).all()
    assert (logits[:, d, size:] == -jnp.inf).all()


def test_the_quantizer_computes_in_float32():
  quantized = apply(SHARED, features().astype(jnp.bfloat16))
  assert quantized.features.dtype == jnp.float32
  exact = apply(SHARED, np.float32(features().astype(jnp.bfloat16)))
  jax.tree.map(np.testing.assert_array_equal, quantized, exact)
