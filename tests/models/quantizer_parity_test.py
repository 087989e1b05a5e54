"""The quantizer against recordings of the official one.

Codes must be equal: the best codeword is closer than the second best by at
least 2e-4. Everything else must agree within 1e-5; the float32 noise of the
recordings is 2e-6.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import codebook
from rq_jax.models import quantizer
from tests import official

DECAYS = (0.99, 0.9, 0.95)  # Of the recorded per-depth codebooks.
MODULES = {
    'rqvae_shared': quantizer.ResidualQuantizer((8, 8, 32), (8, 8, 4), 64),
    'rqvae_unshared': quantizer.ResidualQuantizer(
        (8, 8, 32), (4, 4, 3), (64, 48, 32), shared_codebook=False
    ),
}
TRAINED = {
    'shared': quantizer.ResidualQuantizer(
        (4, 4, 16), (4, 4, 4), 32, codebook_update='depth', restart='off'
    ),
    'unshared': quantizer.ResidualQuantizer(
        (4, 4, 16),
        (4, 4, 3),
        (32, 24, 16),
        shared_codebook=False,
        decay=DECAYS,
        codebook_update='depth',
        restart='off',
    ),
}

assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)


@functools.cache
def recorded(name):
  """A module, its variables, its recording."""
  module = MODULES[name]
  books = official.codebooks(official.weights(name), module.depth)
  return module, {'codebook': books}, official.recording(name)


@pytest.mark.parametrize('name', MODULES)
def test_codes_partial_sums_and_loss_are_the_official_ones(name):
  module, variables, expected = recorded(name)
  actual = jax.jit(module.apply)(variables, expected['z_e'])
  np.testing.assert_array_equal(actual.codes, expected['codes'])
  assert_close(actual.features, expected['z_q'])
  assert_close(actual.commitment_loss, expected['commitment_loss'])


def test_features_are_folded_as_the_official_code_folds_them():
  module, _, expected = recorded('rqvae_unshared')
  np.testing.assert_array_equal(
      module.fold(expected['z_e']), expected['z_e_code_shape']
  )


@pytest.mark.parametrize('name', MODULES)
def test_distances_at_every_depth_are_the_official_ones(name):
  module, variables, expected = recorded(name)
  vectors = module.fold(expected['z_e'][:1])
  run = functools.partial(module.apply, temperature=1.0, method='soft_codes')
  _, residuals = jax.jit(run)(variables, vectors)
  words = module.apply(variables, method='codebooks')
  for d in range(module.depth):
    actual = codebook.squared_distances(
        residuals[..., d, :], words[d % len(words)]
    )
    # Distances are about 100: their noise is larger than that of features.
    np.testing.assert_allclose(actual, expected[f'distances_{d}'], 1e-5, 1e-4)


@pytest.mark.parametrize('name', MODULES)
def test_sums_of_codewords_are_the_official_embeddings(name):
  module, variables, expected = recorded(name)
  words = module.apply(variables, expected['rand_codes'], method='embed')
  assert_close(module.unfold(words.sum(-2)), expected['rand_embed_code'])


def test_codewords_keep_their_order_in_depth():
  module, variables, expected = recorded('rqvae_shared')
  words = module.apply(variables, expected['codes'], method='embed')
  np.testing.assert_array_equal(words[:1], expected['emb_with_depth'])


def _soft_codes(uniforms=None):
  module, variables, expected = recorded('rqvae_shared')

  @jax.jit
  def run(variables, vectors, uniforms):
    codes, residuals = module.apply(
        variables,
        vectors,
        temperature=0.5,
        uniforms=uniforms,
        method='soft_codes',
    )
    logits = module.apply(
        variables, residuals, temperature=0.5, method='target_logits'
    )
    return codes, jax.nn.softmax(logits)

  return run(variables, module.fold(expected['z_e']), uniforms)


def test_soft_codes_of_the_nearest_codewords_are_the_official_ones():
  _, _, expected = recorded('rqvae_shared')
  codes, targets = _soft_codes()
  np.testing.assert_array_equal(codes, expected['soft_codes_t05_codes'])
  assert_close(targets[:1], expected['soft_codes_t05'])


def test_soft_codes_along_drawn_codewords_are_the_official_ones():
  # Replays the official draws: each number is in the middle of the interval
  # that draws the recorded code.
  _, _, expected = recorded('rqvae_shared')
  codes = expected['stoch_codes_t05']
  upper = np.cumsum(expected['stoch_soft_codes_t05'].astype(np.float64), -1)
  lower = upper - expected['stoch_soft_codes_t05']
  middle = np.take_along_axis((lower + upper) / 2, codes[..., None], -1)
  uniforms = np.tile(np.squeeze(middle, -1).astype(np.float32), (2, 1, 1, 1))
  actual, targets = _soft_codes(uniforms)
  np.testing.assert_array_equal(actual[:1], codes)
  assert_close(targets[:1], expected['stoch_soft_codes_t05'])
  assert (codes != expected['codes'][:1]).any()


def _books(recording, prefix, module):
  books = 1 if module.shared_codebook else module.depth
  names = ['shared'] if books == 1 else [f'depth_{d}' for d in range(books)]
  return {
      name: official.codebook_of(recording, f'{prefix}/cb{d}', '/')
      for d, name in enumerate(names)
  }


@functools.cache
def _train_step(name):
  """Compiled: 'z', 'g' -> quantized, moved codebooks, gradient."""
  module = TRAINED[name]

  def loss(z, books, g):
    quantized, moved = module.apply(
        {'codebook': books}, z, train=True, mutable=['codebook']
    )
    scalar = 0.25 * quantized.commitment_loss
    scalar += jnp.sum(quantized.features * g)
    return scalar, (quantized, moved['codebook'])

  return jax.jit(jax.grad(loss, has_aux=True))


@pytest.mark.parametrize('step', [0, 1])
@pytest.mark.parametrize('name', TRAINED)
def test_a_training_step_of_the_per_depth_rule_is_the_official_one(name, step):
  recording, prefix = official.recording('rqvae_train'), f'{name}/step{step}'
  expected = {
      key: recording[f'{prefix}/{key}']
      for key in ('x', 'g', 'grad_x', 'codes', 'commitment_loss', 'z_q')
  }
  module = TRAINED[name]
  before = _books(recording, f'{prefix}/before', module)
  grad, (quantized, after) = _train_step(name)(
      expected['x'], before, expected['g']
  )
  np.testing.assert_array_equal(quantized.codes, expected['codes'])
  assert_close(quantized.features, expected['z_q'])
  assert_close(quantized.commitment_loss, expected['commitment_loss'])
  assert_close(grad, expected['grad_x'])
  jax.tree.map(
      assert_close, after, _books(recording, f'{prefix}/after', module)
  )


@pytest.mark.parametrize(
    ('name', 'd'),
    [('restart', 0), ('restart', 1), ('restart', 2), ('restart_tile', 0)],
)
def test_the_absolute_rule_restarts_the_officially_unused_codewords(name, d):
  recording = official.recording('rqvae_train')
  vectors = recording[f'{name}/cb{d}/depth_input']
  move = jax.jit(
      functools.partial(codebook.move, threshold=1.0, relative=False)
  )
  moved = move(
      official.codebook_of(recording, f'{name}/before/cb{d}', '/'),
      vectors,
      recording[f'{name}/codes'][..., d].reshape(-1),
      decay=DECAYS[d],
      rng=jax.random.key(0),
  )
  used = recording[f'{name}/cb{d}/usage']
  assert used.any() and not used.all()
  assert_close(moved.count, recording[f'{name}/cb{d}/after/cluster_size_ema'])
  totals = recording[f'{name}/cb{d}/after/embed_ema_used_rows']
  assert_close(moved.total[used], totals[used])
  # Re-drawn codewords start at vectors of the batch. If these are too few,
  # noise of at most 0.01 / sqrt(16) is added.
  fresh = np.asarray(moved.total)[~used]
  gaps = np.abs(fresh[:, None] - vectors[None]).max(-1).min(-1)
  assert gaps.max() <= (0.0025 if name == 'restart_tile' else 0)
