"""The RQ-Transformer against recordings of the official one, within 1e-5.

Only some of the recorded variants are in the repository; the others run where
`RQ_JAX_FIXTURES` names a folder that holds them. They are converted by the
same tables as released checkpoints.
"""

import copy
import functools

import jax
import numpy as np
import pytest

from rq_jax.models import build
from rq_jax.models import code_layers
from rq_jax.models import losses
from tests import official

pytestmark = pytest.mark.slow

assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)


@functools.cache
def _model(name):
  return build.rqtransformer(official.config(f'rqtransformer_{name}').model)


def _recording(name):
  recording = copy.copy(official.recording(f'rqtransformer_{name}'))
  recording.setdefault('cond', np.zeros((2, 1), np.int32))
  return recording


@functools.cache
def _params(name, part='state_dict'):
  return official.variables(f'rqtransformer_{name}', part)['params']


@functools.cache
def _words():
  books = official.codebooks(official.weights('rqvae_aux'), 4)
  return (np.asarray(books['shared'].embedding),)


def _outputs(name, params, codes, condition, words):
  """Logits of the codes, and of the condition where it is a text."""
  model = _model(name)
  apply = functools.partial(model.apply, {'params': params})
  hidden, spatial = apply(codes, condition, words, method='hidden')
  logits = apply(hidden, method='classify')
  logits = logits.reshape(*codes.shape, max(model.sizes))
  if model.condition_length == 1:
    return logits, None
  return logits, apply(spatial, method='condition_logits')


@functools.cache
def _apply(name):
  return jax.jit(functools.partial(_outputs, name))


@pytest.mark.parametrize('name', official.RQTRANSFORMERS)
def test_logits_and_their_loss_are_the_official_ones(name):
  expected = _recording(name)
  logits, condition_logits = _apply(name)(
      _params(name), expected['codes'], expected['cond'], _words()
  )
  for d, size in enumerate(_model(name).sizes):
    # The official mask of smaller codebooks has no effect.
    assert_close(logits[..., d, :size], expected['logits'][..., d, :size])
  if name != 'unshared_vocabs':
    entropies = losses.cross_entropy(logits, expected['codes'])
    assert_close(np.mean(entropies), expected['loss_ce'])
    assert_close(entropies.mean((0, 1, 2)), expected['codebook_loss'])
  if condition_logits is not None:
    assert_close(condition_logits, expected['cond_logits'])
    assert_close(
        losses.cross_entropy(condition_logits, expected['cond'][:, 1:]).mean(),
        expected['cond_loss'],
    )


@pytest.mark.parametrize('name', official.RQTRANSFORMERS)
def test_logits_and_loss_of_drawn_codes_are_the_official_ones(name):
  expected = _recording(name)
  if 'soft_codes' not in expected:
    pytest.skip('there are no soft targets for codebooks of several sizes')
  logits, _ = _apply(name)(
      _params(name), expected['soft_codes'], expected['cond'], _words()
  )
  entropies = losses.soft_target_cross_entropy(logits, expected['soft_targets'])
  assert_close(entropies.mean(), expected['soft_loss'])
  assert_close(entropies.mean((0, 1, 2)), expected['soft_codebook_loss'])
  assert_close(entropies.reshape(-1), expected['soft_tokenwise_loss'])
  assert_close(logits, expected['soft_logits'])


def test_averaged_parameters_give_the_official_logits():
  expected = _recording('class')
  logits, _ = _apply('class')(
      _params('class', 'state_dict_ema'),
      expected['codes'],
      expected['cond'],
      _words(),
  )
  assert_close(logits, expected['logits_ema'])


@pytest.mark.parametrize('name', official.RQTRANSFORMERS)
def test_a_forward_pass_finds_the_official_greedy_samples(name):
  # Each recorded code is the most likely one, given the codes before it. Where
  # a recording starts from a prefix, this holds for the codes after it.
  expected = _recording(name)
  if 'greedy' not in expected:
    pytest.skip('the official sampler fails for codebooks of several sizes')
  for kind, first in (('greedy', 0), ('greedy_from_1_2', 6)):
    codes = expected[kind]
    logits, _ = _apply(name)(_params(name), codes, expected['cond'], _words())
    b, h, w, depth = codes.shape
    best = np.asarray(logits.argmax(-1)).reshape(b, h * w, depth)
    np.testing.assert_array_equal(
        best[:, first:], codes.reshape(b, h * w, depth)[:, first:]
    )


def test_per_depth_classifiers_of_smaller_codebooks_are_the_official_ones():
  state = official.weights('rqtransformer_unshared_vocabs')
  expected = official.recording('rqtransformer_unshared_vocabs')
  sizes = (64, 48, 32, 16)
  classifier = code_layers.CodeClassifier(64, sizes, shared=False)
  actual = jax.jit(classifier.apply)(
      {'params': official.classifier(state)},
      expected['head_out'].reshape(2, 16, 4, 64),
  ).reshape(2, 4, 4, 4, 64)
  for d, size in enumerate(sizes):
    logits = expected['logits'][..., d, :size]
    assert_close(actual[..., d, :size], logits)
    # Also after a softmax over the codewords that exist.
    assert_close(jax.nn.softmax(actual)[..., d, :size], jax.nn.softmax(logits))


@pytest.mark.parametrize('name', ['text', 'class'])
def test_gradients_are_the_official_ones(name):
  expected = _recording(name)

  @jax.jit
  def gradients(params, words):
    def loss(params):
      logits, condition_logits = _outputs(
          name, params, expected['codes'], expected['cond'], words
      )
      loss = losses.cross_entropy(logits, expected['codes']).mean()
      if condition_logits is None:
        return loss
      tokens = expected['cond'][:, 1:]
      # The weights of the shipped configuration.
      return 0.9 * loss + 0.1 * (
          losses.cross_entropy(condition_logits, tokens).mean()
      )

    return jax.grad(loss)(params)

  actual = gradients(_params(name), _words())
  key = actual['spatial_stack']['layers']['attention']['query_key_value']
  found = {
      'body_transformer.blocks.0.attn.key.weight': key['kernel'][0, :, 1]
      .reshape(64, 64)
      .T,
      'classifier.layer_norm.weight': actual['classifier']['norm']['scale'],
      'cond_emb.weight': actual['condition_embedding'],
      'head_transformer.blocks.0.mlp.0.weight': actual['depth_stack']['layers'][
          'mlp_in'
      ]['kernel'][0].T,
      'input_mlp.weight': actual['spatial_projection']['kernel'].T,
      'pos_emb_d': actual['depth_position'][None],
      'pos_emb_hw': actual['spatial_position'][None],
  }
  recorded = {f'grad/{n}' for n in found}
  assert recorded == {n for n in expected if n.startswith('grad/')}
  for n, gradient in found.items():
    assert_close(gradient, expected[f'grad/{n}'])
  # The norm of the gradients of all parameters together.
  total = sum(np.sum(np.square(g)) for g in jax.tree.leaves(actual))
  np.testing.assert_allclose(
      np.sqrt(total), np.sqrt(np.sum(expected['grad_norms'] ** 2)), rtol=1e-5
  )
