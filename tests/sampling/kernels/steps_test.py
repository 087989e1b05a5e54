"""The decode loop made of kernels against the one made of plain steps."""

import jax
import numpy as np
import pytest

from rq_jax.models import rqtransformer
from rq_jax.sampling import programs
from rq_jax.sampling import requests
from rq_jax.sampling import weights
from rq_jax.sampling.options import Sampling
from tests.sampling import models
from tests.sampling.kernels import arrays

_BATCH = 3
_FILTERED = Sampling(temperature=[0.7, 1.3], top_k=[20, 30], top_p=[0.9, 1.0])
_VARIANTS = {
    'class': dict(num_classes=10, null_class=True),
    'text': dict(text_vocab_size=50, text_length=3),
    'unshared': dict(
        depth_input='learned',
        shared_embedding=False,
        shared_classifier=False,
        spatial_input='learned',
        codebook_size=(40, 20),
        attention_bias=False,
        mlp_bias=False,
        gelu='sigmoid',
        depth_gelu='exact',
    ),
}


def _draw(kernels, variant, how, dtype='float32', **known):
  """Codes and logits of a small model."""
  fields = dict(
      code_shape=(2, 2, 2),
      codebook_size=40,
      embed_dim=8,
      width=16,
      heads=2,
      spatial_layers=2,
      depth_layers=1,
      dtype=dtype,
  )
  prior = rqtransformer.RQTransformer(**fields | _VARIANTS[variant])
  words = np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32)
  shape = (_BATCH, prior.condition_length)
  condition = np.arange(np.prod(shape), dtype=np.int32).reshape(shape) + 1
  condition %= prior.condition_size
  codes, logits = programs.draw_maps(
      prior,
      weights.prepare(
          prior,
          models.random_variables(prior)['params'],
          (words,),
          kernels=kernels,
      ),
      requests.make(prior, condition, how).replace(**known),
      requests.uniforms(
          jax.random.key(5), np.arange(_BATCH), prior.positions, prior.depth
      ),
      keep_logits=True,
  )
  return np.asarray(codes), np.asarray(logits)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('variant', 'how'),
    [
        ('class', _FILTERED),
        ('class', Sampling(guidance=2.0)),
        ('text', Sampling()),
        ('unshared', Sampling()),
    ],
)
def test_kernels_draw_the_codes_of_the_plain_steps(variant, how):
  expected, logits = _draw('xla', variant, how)
  codes, found = _draw('interpret', variant, how)
  np.testing.assert_array_equal(codes, expected)
  np.testing.assert_allclose(found, logits, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_kernels_keep_known_codes():
  given = np.arange(_BATCH * 8, dtype=np.int32).reshape(_BATCH, 4, 2)
  keep = np.zeros(given.shape, bool)
  keep[:, :2] = True
  keep[0, 3, 0] = True
  known = dict(given=given, keep=keep)
  expected, _ = _draw('xla', 'class', _FILTERED, **known)
  codes, _ = _draw('interpret', 'class', _FILTERED, **known)
  np.testing.assert_array_equal(codes, expected)
  codes = codes.reshape(given.shape)
  np.testing.assert_array_equal(codes[keep], given[keep])


@pytest.mark.slow
def test_logits_in_bfloat16_are_those_of_the_plain_steps():
  expected, logits = _draw('xla', 'class', Sampling(), 'bfloat16')
  codes, found = _draw('interpret', 'class', Sampling(), 'bfloat16')
  # Logits can be compared if all codes before them are equal.
  equal = (codes == expected).reshape(_BATCH, -1)
  before = np.cumprod(equal, axis=1)[:, :-1].astype(bool)
  same = np.pad(before, ((0, 0), (1, 0)), constant_values=True)
  assert same.mean() > 0.5
  found, logits = (x.reshape(*same.shape, -1) for x in (found, logits))
  arrays.assert_close(found[same], logits[same], 'bfloat16')
