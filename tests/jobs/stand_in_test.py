"""Models for timing have the right shapes and dtypes, and a tokenizer."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax import config as config_lib
from rq_jax.distributed import partitioning
from rq_jax.jobs import stand_in
from rq_jax.models import build
from tests import tiny

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / 'configs'


def load(path):
  return config_lib.load_model(str(CONFIGS / path))


def kinds(tree):
  return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


@functools.cache
def bfloat16():
  return stand_in.sampler(
      tiny.stage2_config().model, tiny.stage1_config().model, 'bfloat16'
  )


@pytest.mark.slow
def test_weights_have_the_shapes_of_the_model_and_the_dtype_asked_for():
  made = bfloat16()
  prior = build.rqtransformer(tiny.stage2_config().model, 'bfloat16')
  assert made.prior == prior
  expected = partitioning.unbox(build.rqtransformer_variables(prior))
  bfloat = jnp.dtype('bfloat16')
  assert kinds(made.prior_variables['params']) == jax.tree.map(
      lambda leaf: (leaf.shape, bfloat), expected['params']
  )
  variables = made.tokenizer.variables
  assert {leaf.dtype for leaf in jax.tree.leaves(variables['params'])} == {
      bfloat
  }
  # The quantizer is always float32.
  assert {leaf.dtype for leaf in jax.tree.leaves(variables['codebook'])} == {
      jnp.dtype('float32')
  }
  abstract = build.rqvae_variables(made.tokenizer.model)
  assert jax.tree.structure(variables) == jax.tree.structure(
      partitioning.unbox(dict(abstract))
  )


def test_it_draws_images():
  images = bfloat16()(jax.random.key(0), labels=[1, 2, 3])
  assert images.shape == (3, tiny.SIZE, tiny.SIZE, 3)
  assert len(np.unique(images)) > 1


def test_numbers_are_normal_and_differ_from_leaf_to_leaf():
  shapes = [jax.ShapeDtypeStruct((100, 100), jnp.float32)] * 2
  one, two = stand_in.draw(shapes, 0)
  assert np.std(one) == pytest.approx(0.02, rel=0.05)
  assert abs(np.mean(one)) < 1e-3
  assert not np.any(one == two)
  scaled, _ = stand_in.draw(shapes, 0, lambda leaf: leaf.shape[0] ** -0.5)
  np.testing.assert_allclose(scaled, one * 5, rtol=1e-5)
  assert not np.any(stand_in.draw(shapes, 1)[0] == one)


# The first three have an rqvae.py beside them; FFHQ's has other attention.
@pytest.mark.parametrize(
    ('path', 'size', 'multipliers', 'attention'),
    [
        ('digits', 32, (1, 2, 4, 8), ()),
        ('imagenet256', 256, (1, 1, 2, 2, 4, 4), (8,)),
        ('ffhq256', 256, (1, 1, 2, 2, 4, 4), (16,)),
        ('cc3m256', 256, (1, 1, 2, 2, 4, 4), (8,)),
        ('benchmark:small-f16-d2-k100', 256, (1, 1, 2, 2, 4), (16,)),
        ('benchmark:small-f8-d2-k2048', 256, (1, 2, 2, 4), (32,)),
    ],
)
def test_a_tokenizer_that_fits_is_found(path, size, multipliers, attention):
  folder, *argument = path.split(':')
  file = ':'.join([f'{folder}/rqtransformer.py', *argument])
  config = load(file)
  found = stand_in.find_tokenizer(config, str(CONFIGS / file))
  model = build.rqvae(found)
  build.check_pair(config, model)
  assert model.image_size == size
  assert model.channel_multipliers == multipliers
  assert model.attention_resolutions == attention


@pytest.mark.parametrize(
    ('height', 'width', 'size', 'attention'),
    [(8, 12, (256, 384), 8), (24, 16, (384, 256), 16)],
)
def test_maps_that_are_not_square_have_a_shorter_side_of_256_pixels(
    height, width, size, attention
):
  prior = tiny.stage2_config(model=dict(code_shape=(height, width, 2))).model
  found = stand_in.find_tokenizer(prior)
  build.check_pair(prior, build.rqvae(found))
  assert found.image_size == size
  assert found.feature_map == (height, width)
  assert found.attention_resolutions == (attention,)


def test_a_map_that_no_tokenizer_makes_is_refused():
  with pytest.raises(
      ValueError, match=r'\(2, 2, 2\) fits no .*tokenizer_config'
  ):
    stand_in.find_tokenizer(tiny.stage2_config().model)


def test_a_given_tokenizer_must_fit():
  digits = str(CONFIGS / 'digits/rqvae.py')
  config = load('digits/rqtransformer.py')
  assert stand_in.load_tokenizer(digits, config).image_size == 32
  with pytest.raises(ValueError, match=r"'codebook_size': 128.*16384"):
    stand_in.load_tokenizer(digits, load('imagenet256/rqtransformer.py'))
  with pytest.raises(
      ValueError, match='digits/rqtransformer.py describes no RQ-VAE'
  ):
    stand_in.load_tokenizer(str(CONFIGS / 'digits/rqtransformer.py'), config)


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({}, {'labels': [0, 1, 2, 3, 4, 5]}),
        (
            dict(num_classes=0, text_vocab_size=7, text_length=2),
            {'tokens': [[0, 1], [2, 3], [4, 5], [6, 0], [1, 2], [3, 4]]},
        ),
        (dict(num_classes=0), {'num_images': 6}),
    ],
)
def test_a_model_is_asked_for_what_it_takes(changes, expected):
  prior = build.rqtransformer(tiny.stage2_config().model)
  condition = stand_in.condition_of(prior.clone(**changes), 6)
  assert list(condition) == list(expected)
  for name, values in expected.items():
    np.testing.assert_array_equal(condition[name], values)
