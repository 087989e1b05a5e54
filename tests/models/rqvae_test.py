import dataclasses
import functools

import jax
from jax.extend.core import primitives
import jax.numpy as jnp
import numpy as np

from rq_jax.models import rqvae
from tests import random_numbers
from tests.models import drawn

MODEL = rqvae.RQVAE(
    image_size=8,
    channels=8,
    channel_multipliers=(1, 2),
    res_blocks=0,  # Only in the decoder's levels and in the middle.
    attention_resolutions=(),
    z_channels=6,
    embed_dim=5,
    code_shape=(2, 4, 3),
    codebook_size=8,
    norm_groups=4,
)

assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)


def images():
  rng = np.random.default_rng(0)
  return rng.uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)


@functools.cache
def variables():
  return jax.tree.map(jnp.asarray, drawn.variables(MODEL, images()))


@functools.cache
def _run(model):
  """Outputs of a model, step by step and at once, in a compiled program."""

  @jax.jit
  def run(variables, images):
    apply = functools.partial(model.apply, variables)
    features = apply(images, method='features')
    return dict(
        whole=apply(images),
        features=features,
        quantized=apply(features, method='quantize'),
    )

  return run


@functools.cache
def _decode():
  return jax.jit(lambda z: MODEL.apply(variables(), z, method='decode'))


def test_the_steps_make_what_the_whole_model_makes():
  made = _run(MODEL)(variables(), images())
  assert made['features'].shape == (2, *MODEL.features_shape) == (2, 4, 4, 5)
  assert made['quantized'].codes.shape == (2, 2, 4, 3)
  jax.tree.map(assert_close, made['quantized'], made['whole'].quantized)
  features = MODEL.apply(variables(), made['quantized'].codes, method='embed')
  assert_close(features, made['whole'].quantized.features)
  assert_close(_decode()(features), made['whole'].images)


def test_codes_decode_to_what_the_sum_of_their_first_codewords_does():
  codes = np.random.default_rng(1).integers(8, size=(2, 2, 4, 3))
  words = np.asarray(MODEL.apply(variables(), method='codebooks')[0])

  @jax.jit  # So that the depth is an array here, and an int below.
  def decode_codes(codes, depth):
    return MODEL.apply(variables(), codes, depth=depth, method='decode_codes')

  for depth in (2, None):
    # Each codeword covers two rows of the map: [B, 2, 4, (2, 1, 5)].
    sums = words[codes][..., :depth, :].sum(-2).reshape(2, 2, 4, 2, 5)
    features = sums.swapaxes(2, 3).reshape(2, 4, 4, 5)
    assert_close(
        MODEL.apply(variables(), codes, depth=depth, method='embed'), features
    )
    assert_close(decode_codes(codes, depth), _decode()(features))


def _loss(model, params, books, rngs):
  out, moved = model.apply(
      {'params': params, 'codebook': books},
      images(),
      train=True,
      rngs=rngs,
      mutable=['codebook'],
  )
  error = jnp.mean(jnp.square(out.images - images()))
  return error + 0.25 * out.quantized.commitment_loss, (out, moved)


@functools.cache
def _trained():
  model = MODEL.clone(dropout=0.3)
  key = random_numbers.key(1)
  rngs = {'dropout': key, 'codebook': key}

  @jax.jit
  def train(variables):
    return jax.grad(functools.partial(_loss, model), has_aux=True)(
        variables['params'], variables['codebook'], rngs
    )

  return train(variables())


def test_gradients_reach_every_parameter_and_no_codeword():
  assert set(variables()) == {'params', 'codebook'}
  assert 'quantizer' not in variables()['params']
  gradients, _ = _trained()
  for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
    # The softmax of attention does not depend on biases of keys.
    if [key.key for key in path[-3:]] != ['key', 'conv', 'bias']:
      assert np.abs(gradient).max() > 1e-6, path


def test_training_drops_out_and_moves_the_codebook():
  _, (out, moved) = _trained()
  whole = _run(MODEL)(variables(), images())['whole']
  assert np.abs(out.images - whole.images).max() > 1e-3
  before = variables()['codebook']['quantizer']['shared']
  after = moved['codebook']['quantizer']['shared']
  assert (after.embedding != before.embedding).any()


def test_remat_recomputes_the_blocks_of_both_networks():
  def recomputed(model):
    apply = functools.partial(
        model.apply,
        train=True,
        mutable=['codebook'],
        rngs={'codebook': jax.random.key(0)},
    )
    traced = jax.make_jaxpr(apply)(variables(), images())
    return sum(e.primitive is primitives.remat_p for e in traced.eqns)

  # Two in the middle of each network, and one in each level of the decoder.
  assert recomputed(MODEL) == 0
  assert recomputed(MODEL.clone(remat='full')) == 2 + (2 + 2)


def test_options_of_the_quantizer_reach_it():
  options = dict(
      codebook_size=(8, 6, 4),
      shared_codebook=False,
      decay=(0.9, 0.8, 0.7),
      codebook_update='depth',
      restart='absolute',
      restart_threshold=0.5,
      code_shape=(4, 4, 3),
  )
  made = rqvae.RQVAE(image_size=16, **options).make_quantizer()
  assert {name: getattr(made, name) for name in options} == options
  # The options above are all the fields there are.
  fields = {field.name for field in dataclasses.fields(made)}
  assert fields - {'features_shape', 'parent', 'name'} == set(options)


def test_the_quantizer_stays_float32_in_bfloat16():
  made = _run(MODEL.clone(dtype='bfloat16'))(variables(), images())
  exact = _run(MODEL)(variables(), images())
  for name in ('features', 'quantized', 'whole'):
    for value in jax.tree.leaves(made[name]):
      assert value.dtype in (jnp.float32, jnp.int32)
      assert np.isfinite(value).all()
  assert (made['features'] != exact['features']).any()
  # bfloat16 has 8 significant bits.
  np.testing.assert_allclose(made['features'], exact['features'], atol=0.1)
  # Sums of codewords are float32, as always.
  words = MODEL.apply(variables(), made['quantized'].codes, method='embed')
  assert_close(made['quantized'].features, words)
