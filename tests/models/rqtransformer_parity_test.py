"""The RQ-Transformer against recordings of the official one, within 1e-5.

Only some of the recorded variants are in the repository; the others run where
`RQ_JAX_FIXTURES` names a folder that holds them.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax import losses
from rq_jax.models import code_layers
from rq_jax.models import rqtransformer
from tests import official

_LEARNED = dict(
    spatial_input='learned',
    depth_input='learned',
    cumulative_depth_input=False,
)
_PER_DEPTH = dict(_LEARNED, shared_embedding=False, shared_classifier=False)
_TEXT = dict(text_vocab_size=50, text_length=6)
VARIANTS = {
    'uncond': {},
    'class': dict(num_classes=10),
    'text': _TEXT,
    'unshared': dict(
        _PER_DEPTH, num_classes=10, attention_bias=False, gelu='sigmoid'
    ),
    'unshared_mlpnb': dict(
        _PER_DEPTH, **_TEXT, mlp_bias=False, depth_gelu='sigmoid'
    ),
    'unshared_vocabs': dict(_PER_DEPTH, codebook_size=(64, 48, 32, 16)),
    'mixed': dict(
        num_classes=10,
        shared_classifier=False,
        depth_input='learned',
        cumulative_depth_input=False,
    ),
    'mixed2': dict(spatial_input='learned', cumulative_depth_input=False),
    'd1': dict(_LEARNED, num_classes=10, code_shape=(4, 4, 1), depth_layers=0),
}

assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)


def _model(name):
  options = dict(
      code_shape=(4, 4, 4),
      codebook_size=64,
      embed_dim=32,
      width=64,
      heads=4,
      spatial_layers=3,
      depth_layers=2,
  )
  return rqtransformer.RQTransformer(**{**options, **VARIANTS[name]})


def _recording(name):
  recording = dict(official.recording(f'rqtransformer_{name}'))
  recording.setdefault('cond', np.zeros((2, 1), np.int32))
  return recording


@functools.cache
def _params(name):
  state = official.weights(f'rqtransformer_{name}')
  if 'pos_emb_hw' not in state:
    pytest.skip('only the classifier is in the repository')
  return official.rqtransformer_params(state, 4, _model(name).sizes)


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


@pytest.mark.parametrize('name', VARIANTS)
def test_the_official_weights_are_all_the_weights_there_are(name):
  ours = jax.eval_shape(
      _model(name).init,
      jax.random.key(0),
      _recording(name)['codes'],
      _recording(name)['cond'],
      (jnp.zeros((64, 32)),),
  )
  shapes = functools.partial(jax.tree.map, jnp.shape)
  assert shapes(nn.unbox(ours)['params']) == shapes(_params(name))


@pytest.mark.parametrize('name', VARIANTS)
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


def test_logits_and_loss_of_drawn_codes_are_the_official_ones():
  expected = _recording('text')
  logits, _ = _apply('text')(
      _params('text'), expected['soft_codes'], expected['cond'], _words()
  )
  assert_close(logits, expected['soft_logits'])
  assert_close(
      losses.soft_target_cross_entropy(logits, expected['soft_targets']).mean(),
      expected['soft_loss'],
  )


def test_a_forward_pass_finds_the_official_greedy_samples():
  # Each recorded code is the most likely one, given those before it.
  expected = _recording('unshared')
  logits, _ = _apply('unshared')(
      _params('unshared'), expected['greedy'], expected['cond'], _words()
  )
  np.testing.assert_array_equal(logits.argmax(-1), expected['greedy'])


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
    # As a softmax over the codewords that there are.
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
  # Every gradient, by its norm. Those of all parameters, summed in squares.
  total = sum(np.sum(np.square(g)) for g in jax.tree.leaves(actual))
  np.testing.assert_allclose(
      np.sqrt(total), np.sqrt(np.sum(expected['grad_norms'] ** 2)), rtol=1e-5
  )
