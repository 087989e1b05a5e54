"""In bfloat16 models, scores and logits are computed in float32."""

import jax.numpy as jnp
import numpy as np

from rq_jax.models import code_layers
from rq_jax.models import incremental
from rq_jax.models import layer_norm
from rq_jax.models import transformer

_BFLOAT16 = jnp.dtype('bfloat16')


def _rounds(values):
  """Which values bfloat16 cannot represent."""
  return np.asarray(values) != np.asarray(values).astype(_BFLOAT16)


def test_scores_of_attention_are_not_rounded():
  """The products of these numbers need more than eight bits."""
  width = 4
  identity = np.eye(width, dtype=np.float32)
  attention = transformer.Attention(
      width, heads=1, use_bias=False, dtype='bfloat16'
  )
  params = {
      'query_key_value': {
          'kernel': np.stack([identity] * 3, axis=1)[:, :, None]
      },
      'out': {'kernel': identity[None]},
  }
  x = np.array([[[15, 11, 3, 2], [15, 11, 3, 1], [14, 12, 3, 4]]], np.float32)
  # Queries, keys and values are x; the scale, 1 / 2, is exact.
  scores = x[0] @ x[0].T / 2
  assert _rounds(scores).any() and not _rounds(x).any()
  scores[np.triu_indices(3, 1)] = -np.inf
  mass = np.exp(scores - scores.max(axis=1, keepdims=True))
  expected = mass / mass.sum(axis=1, keepdims=True) @ x[0]

  whole = attention.apply({'params': params}, x)
  heads = jnp.asarray(x[:, None], _BFLOAT16)  # [B, N, S, E/N]
  steps = []
  for start, stop in ((0, 2), (2, 3)):
    known = heads[:, :, :stop]
    q = heads[:, :, start:stop]
    steps.append(incremental._attend(q, known, known, start))
  for attended in (whole, jnp.concatenate(steps, axis=2)[:, 0]):
    assert attended.dtype == _BFLOAT16
    # The weights have eight bits, and so has the result.
    np.testing.assert_allclose(
        np.asarray(attended[0], np.float32), expected, rtol=0.01
    )
  rounded = np.exp(scores.astype(_BFLOAT16).astype(np.float32) - scores.max())
  rounded = rounded / rounded.sum(axis=1, keepdims=True) @ x[0]
  assert np.abs(rounded / expected - 1).max() > 0.02


def test_logits_are_not_rounded():
  rng = np.random.default_rng(0)
  for shared in (True, False):
    classifier = code_layers.CodeClassifier(
        width=16, sizes=(9, 9), shared=shared, dtype='bfloat16'
    )
    shape = (16, 9) if shared else (2, 16, 9)
    kernel = rng.normal(size=shape).astype(_BFLOAT16)
    params = {
        'norm': {'scale': np.ones(16), 'bias': np.zeros(16)},
        'kernel': kernel,
        'bias': np.zeros((9,) if shared else (2, 9), np.float32),
    }
    hidden = rng.normal(size=(3, 4, 2, 16)).astype(_BFLOAT16)
    normal = layer_norm.LayerNorm('bfloat16').apply(
        {'params': params['norm']}, hidden
    )
    assert normal.dtype == _BFLOAT16
    product = 'btde,ek->btdk' if shared else 'btde,dek->btdk'
    expected = np.einsum(
        product, np.asarray(normal, np.float64), kernel.astype(np.float64)
    )
    whole = classifier.apply({'params': params}, hidden)
    by_depth = jnp.stack(
        [
            classifier.apply(
                {'params': params},
                hidden[:, :, d].reshape(12, 16),
                d,
                method='at',
            )
            for d in range(2)
        ],
        axis=1,
    ).reshape(whole.shape)
    for logits in (whole, by_depth):
      assert logits.dtype == jnp.float32
      np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
      assert _rounds(logits).mean() > 0.9
