"""The residual quantizer: codes, sums, losses and draws for features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import quantizer
from tests.models import small


@pytest.mark.parametrize('module', [small.SHARED, small.UNSHARED])
def test_each_depth_chooses_the_nearest_to_what_is_left(module):
  codes = np.asarray(small.apply(module, small.features()).codes)
  vectors = np.asarray(module.fold(small.features()))
  left = small.residuals(module, vectors, codes)
  tables = [np.asarray(b.embedding) for b in small.books(module).values()]
  for d in range(module.depth):
    table = tables[d % len(tables)]
    distances = np.square(left[..., d, None, :] - table).sum(-1)
    np.testing.assert_array_equal(codes[..., d], distances.argmin(-1))


@pytest.mark.parametrize('module', [small.SHARED, small.UNSHARED])
def test_a_reconstruction_is_the_sum_of_its_codewords(module):
  quantized = small.apply(module, small.features())
  sums = small.words(module, np.asarray(quantized.codes)).sum(-2)
  small.assert_close(quantized.features, module.unfold(sums))
  embedded = small.apply(module, quantized.codes, method='embed')
  small.assert_close(embedded.sum(-2), sums)


@pytest.mark.parametrize('module', [small.SHARED, small.UNSHARED])
def test_losses_are_those_of_the_partial_sums(module):
  quantized = small.apply(module, small.features())
  vectors = module.fold(small.features())
  sums = small.words(module, np.asarray(quantized.codes)).cumsum(-2)
  errors = np.square(vectors[..., None, :] - sums)
  small.assert_close(quantized.commitment_loss, errors.mean())
  variance = np.var(np.float64(vectors), axis=(0, 1, 2)).mean()
  small.assert_close(quantized.error, errors[..., -1, :].mean() / variance)


def test_gradients_pass_straight_through():
  upstream = small.features(1)

  def output(z):
    return jnp.sum(small.apply(small.SHARED, z).features * upstream)

  small.assert_close(jax.grad(output)(small.features()), upstream)


def test_the_loss_pulls_features_to_the_partial_sums():
  def loss(z):
    return small.apply(small.SHARED, z).commitment_loss

  codes = np.asarray(small.apply(small.SHARED, small.features()).codes)
  sums = small.words(small.SHARED, codes).cumsum(-2)
  pull = (
      2
      * (small.features()[..., None, :] - sums).mean(-2)
      / small.features().size
  )
  small.assert_close(jax.grad(loss)(small.features()) * 1e3, pull * 1e3)


def test_codebooks_are_listed_by_depth():
  actual = small.UNSHARED.apply(
      {'codebook': small.books(small.UNSHARED)}, method='codebooks'
  )
  assert [len(table) for table in actual] == [8, 6, 5]
  for d, table in enumerate(actual):
    np.testing.assert_array_equal(
        table, small.books(small.UNSHARED)[f'depth_{d}'].embedding
    )


@pytest.mark.parametrize('code_shape', [(4, 4), (2, 4), (4, 2), (1, 2)])
def test_unfolding_undoes_folding(code_shape):
  module = quantizer.ResidualQuantizer((4, 4, 6), (*code_shape, 1), 8)
  z = small.features()
  folded = np.asarray(module.fold(z))
  np.testing.assert_array_equal(module.unfold(folded), z)
  h, w = 4 // code_shape[0], 4 // code_shape[1]
  for i in range(code_shape[0]):
    for j in range(code_shape[1]):
      patch = z[:, i * h : (i + 1) * h, j * w : (j + 1) * w]
      np.testing.assert_array_equal(folded[:, i, j], patch.reshape(5, -1))


def test_folding_keeps_height_and_width_apart():
  module = quantizer.ResidualQuantizer((2, 6, 1), (2, 3, 1), 8)
  z = np.arange(12.0).reshape(1, 2, 6, 1)
  expected = [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]]
  np.testing.assert_array_equal(module.fold(z)[0], expected)
  # These features have as many numbers.
  with pytest.raises(AssertionError, match='shape'):
    module.fold(z.reshape(1, 6, 2, 1))


def test_soft_codes_without_draws_are_the_codes():
  for module in (small.SHARED, small.UNSHARED):
    vectors = module.fold(small.features())
    codes, left = small.apply(
        module, vectors, method='soft_codes', temperature=1.0
    )
    np.testing.assert_array_equal(
        codes, small.apply(module, small.features()).codes
    )
    small.assert_close(
        left, small.residuals(module, vectors, np.asarray(codes))
    )


def test_codes_are_drawn_by_their_distances_and_residuals_follow_them():
  uniforms = np.random.default_rng(4).random((4000, 3), np.float32)
  vectors = np.tile(small.features()[0, 0, 0], (4000, 1))

  @jax.jit
  def draw(vectors, uniforms):
    codes, left = small.SHARED.apply(
        {'codebook': small.books(small.SHARED)},
        vectors,
        temperature=3.0,
        uniforms=uniforms,
        method='soft_codes',
    )
    return (
        codes,
        left,
        small.SHARED.apply(
            {'codebook': small.books(small.SHARED)},
            left,
            temperature=3.0,
            method='target_logits',
        ),
    )

  codes, left, logits = (np.asarray(x) for x in draw(vectors, uniforms))
  small.assert_close(left, small.residuals(small.SHARED, vectors, codes))
  table = np.asarray(small.books(small.SHARED)['shared'].embedding)
  small.assert_close(
      logits, -np.square(left[..., None, :] - table).sum(-1) / 3.0
  )
  # At every depth, draws follow the targets of the residuals there.
  targets = np.asarray(jax.nn.softmax(logits))
  expected = targets.sum(0)
  for d in range(3):
    observed = np.bincount(codes[:, d], minlength=8)
    chi_square = (observed - expected[d]) ** 2 / expected[d]
    # The 99.9th percentile for 7 degrees of freedom.
    assert chi_square.sum() < 24.3


def test_missing_codewords_are_no_targets():
  left = np.zeros((2, 3, 12), np.float32)
  logits = small.apply(
      small.UNSHARED, left, method='target_logits', temperature=0.5
  )
  assert logits.shape == (2, 3, 8)
  for d, size in enumerate((8, 6, 5)):
    assert np.isfinite(logits[:, d, :size]).all()
    assert (logits[:, d, size:] == -jnp.inf).all()


def test_the_quantizer_computes_in_float32():
  quantized = small.apply(small.SHARED, small.features().astype(jnp.bfloat16))
  assert quantized.features.dtype == jnp.float32
  exact = small.apply(
      small.SHARED, np.float32(small.features().astype(jnp.bfloat16))
  )
  jax.tree.map(np.testing.assert_array_equal, quantized, exact)
