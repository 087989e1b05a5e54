"""How training moves the codewords of the residual quantizer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import codebook
from rq_jax.models import quantizer
from tests.models import small

DEPTH = quantizer.ResidualQuantizer(
    (4, 4, 6), (4, 4, 3), 8, codebook_update='depth', restart='off'
)
RESTARTED = quantizer.ResidualQuantizer((4, 4, 6), (4, 4, 3), 8)


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
  quantized, moved = _train(module)(small.books(module), z, jax.random.key(3))
  return quantized, moved['codebook']


@pytest.mark.parametrize('module', [small.SHARED, small.UNSHARED])
def test_codes_in_training_are_those_of_evaluation(module):
  quantized, moved = train(module, small.features())
  evaluated = small.apply(module, small.features())
  np.testing.assert_array_equal(quantized.codes, evaluated.codes)
  small.assert_close(quantized.features, evaluated.features)
  for name, book in small.books(module).items():
    assert (moved[name].embedding != book.embedding).any()


def test_the_per_depth_rule_shows_later_depths_the_moved_codewords():
  quantized, _ = train(DEPTH, small.features())
  evaluated = small.apply(DEPTH, small.features())
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
  quantized, moved = train(small.SHARED, small.features())
  codes = np.asarray(quantized.codes)
  left = small.residuals(small.SHARED, small.features(), codes)
  count, total = _averages(
      small.books(small.SHARED)['shared'],
      left.reshape(-1, 6),
      codes.reshape(-1),
      0.99,
  )
  small.assert_close(moved['shared'].count, count)
  small.assert_close(moved['shared'].total, total)
  # Counts are about 2: smoothing them by 1e-5 changes 1e-5 of a codeword.
  np.testing.assert_allclose(
      moved['shared'].embedding, total / count[:, None], 1e-4, 1e-4
  )


def test_codebooks_of_their_own_average_over_their_own_depth():
  quantized, moved = train(small.UNSHARED, small.features())
  codes = np.asarray(quantized.codes)
  left = small.residuals(
      small.UNSHARED, np.asarray(small.UNSHARED.fold(small.features())), codes
  )
  for d, decay in enumerate(small.UNSHARED.decay):
    count, total = _averages(
        small.books(small.UNSHARED)[f'depth_{d}'],
        left[..., d, :].reshape(-1, 12),
        codes[..., d].reshape(-1),
        decay,
    )
    small.assert_close(moved[f'depth_{d}'].count, count)
    small.assert_close(moved[f'depth_{d}'].total, total)


def test_unused_codewords_become_residuals_of_the_batch():
  book = small.books(RESTARTED)['shared']
  unused = np.arange(8) % 2 == 1
  # Codewords far from all vectors, with hardly any usage.
  book = codebook.Codebook(
      embedding=jnp.where(unused[:, None], 100.0, book.embedding),
      count=jnp.where(unused, 0.01, book.count),
      total=book.total,
  )
  quantized, moved = _train(RESTARTED)(
      {'shared': book}, small.features(), jax.random.key(3)
  )
  codes = np.asarray(quantized.codes)
  assert not np.isin(codes, np.flatnonzero(unused)).any()
  table = np.asarray(book.embedding)
  sums = table[codes].cumsum(-2)
  left = small.features()[..., None, :] - (sums - table[codes])
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

  book = initialize(small.features())['codebook']['shared']
  assert not book.count.any() and not book.total.any()
  _, after = jax.jit(
      lambda books, z: RESTARTED.apply(
          {'codebook': books}, z, mutable=['codebook']
      )
  )(small.books(RESTARTED), small.features())
  jax.tree.map(
      np.testing.assert_array_equal, after['codebook'], small.books(RESTARTED)
  )
