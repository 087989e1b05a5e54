"""A tokenizer computes what its model does, on plain arrays."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.models import build
from tests import tokenizers


def test_bytes_and_floats_of_an_image_have_the_same_codes():
  tokenizer = tokenizers.restored()
  floats = tokenizers.images() / np.float32(127.5) - 1
  features = tokenizer.features(tokenizers.images())
  assert features.shape == (2, 4, 4, 8) and features.dtype == jnp.float32
  # Dividing and multiplying by the reciprocal may differ in the last bit.
  np.testing.assert_allclose(
      tokenizer.features(floats), features, rtol=0, atol=1e-5
  )
  codes = tokenizer.encode(tokenizers.images())
  assert codes.shape == (2, 4, 4, tokenizers.DEPTH) and codes.dtype == jnp.int32
  np.testing.assert_array_equal(tokenizer.encode(floats), codes)


def test_features_are_those_of_the_model():
  tokenizer = tokenizers.restored()
  expected = jax.jit(
      lambda x: tokenizer.model.apply(
          tokenizers.variables(), x, method='features'
      )
  )(tokenizers.images() / np.float32(127.5) - 1)
  # Two programs of the same network, which may round differently.
  np.testing.assert_allclose(
      tokenizer.features(tokenizers.images()), expected, rtol=1e-5, atol=1e-5
  )


def test_codes_choose_the_nearest_codeword_for_what_is_left():
  tokenizer = tokenizers.restored()
  (words,) = map(np.asarray, tokenizer.codebooks)
  residual = np.asarray(tokenizer.features(tokenizers.images()), np.float64)
  codes = np.asarray(tokenizer.encode(tokenizers.images()))
  for depth in range(tokenizers.DEPTH):
    distances = np.sum((residual[..., None, :] - words) ** 2, axis=-1)
    np.testing.assert_array_equal(codes[..., depth], distances.argmin(-1))
    residual = residual - words[codes[..., depth]]
  assert len(np.unique(codes)) > 2


@pytest.mark.parametrize('depth', [1, 2, None])
def test_decoding_to_a_depth_adds_that_many_codewords(depth):
  tokenizer = tokenizers.restored()
  (words,) = map(np.asarray, tokenizer.codebooks)
  features = words[tokenizers.codes()][..., :depth, :].sum(axis=-2)
  decoded = _decode(features)
  images = tokenizer.decode(tokenizers.codes(), depth=depth)
  assert images.shape == (2, 8, 8, 3) and images.dtype == jnp.uint8
  expected = np.clip(np.asarray(decoded) * 127.5 + 127.5, 0, 255)
  # Rounding by half a level, plus float32 noise of two different programs.
  assert np.abs(images - expected).max() <= 0.501
  assert images.std() > 1


@jax.jit
def _decode(features):
  model = build.rqvae(tokenizers.config().model)
  return model.apply(tokenizers.variables(), features, method='decode')


def test_every_depth_changes_the_image():
  tokenizer = tokenizers.restored()
  images = [
      np.asarray(tokenizer.decode(tokenizers.codes(), depth=d))
      for d in (1, 2, None)
  ]
  assert not np.array_equal(images[0], images[1])
  assert not np.array_equal(images[1], images[2])


@pytest.mark.parametrize('depth', [0, -1, tokenizers.DEPTH + 1])
def test_a_depth_that_stacks_do_not_have_is_refused(depth):
  tokenizer = tokenizers.restored()
  with pytest.raises(ValueError, match=rf'depth={depth} must be in \[1, 3\]'):
    tokenizer.decode(tokenizers.codes(), depth=depth)


@pytest.mark.parametrize(
    'shape, advice',
    [
        ((2, 16, 16, 3), 'Resize the images to 8 x 8 pixels.'),
        ((8, 8, 3), 'Add a batch dimension: images[None].'),
        (
            (2, 3, 8, 8),
            'Move the channels to the end: images.transpose(0, 2, 3, 1).',
        ),
        ((2, 8, 8, 1), 'Pass a batch of RGB images.'),
        ((), 'Pass a batch of RGB images.'),
    ],
    ids=str,
)
def test_images_of_another_shape_are_refused(shape, advice):
  tokenizer = tokenizers.restored()
  images = np.zeros(shape, np.uint8)
  for method in (tokenizer.encode, tokenizer.features):
    for given in (images, jnp.asarray(images)):
      with pytest.raises(ValueError) as error:
        method(given)
      assert str(error.value) == (
          f'images has shape {list(shape)}, but this model takes [B, 8, 8, 3].'
          f' {advice}'
      )


@pytest.mark.parametrize(
    'shape, advice',
    [
        ((2, 4, 4, 2), 'Pass code maps of Tokenizer.encode or Sampler.codes.'),
        ((4, 4, 3), 'Add a batch dimension: codes[None].'),
    ],
    ids=str,
)
def test_codes_of_another_shape_are_refused(shape, advice):
  tokenizer = tokenizers.restored()
  with pytest.raises(ValueError) as error:
    tokenizer.decode(np.zeros(shape, np.int32))
  assert str(error.value) == (
      f'codes has shape {list(shape)}, but this model takes [B, 4, 4, 3].'
      f' {advice}'
  )


def _random_images(low, high):
  rng = np.random.default_rng(0)
  return rng.uniform(low, high, (2, 8, 8, 3)).astype(np.float32)


@pytest.mark.parametrize(
    'low, high, found, fix',
    [
        (0, 1, r'all lie in \[0, 1\]', r'2 \* images - 1'),
        (0, 255, r'reach 25\d.*', 'uint8 for pixels from 0 to 255'),
        (-1, 3, r'reach 2\.9.*', 'uint8 for pixels from 0 to 255'),
    ],
)
def test_images_of_another_range_are_warned_about(low, high, found, fix):
  message = f'^images {found}, but float .* be in .-1, 1.. Pass {fix}[.]$'
  tokenizer = tokenizers.restored()
  images = _random_images(low, high)
  for method in (tokenizer.encode, tokenizer.features):
    for given in (images, images.astype(np.float64), jnp.asarray(images)):
      with pytest.warns(UserWarning, match=message) as warned:
        method(given)
      assert [w.filename for w in warned] == [__file__]


def test_images_that_may_be_right_are_not_warned_about():
  tokenizer = tokenizers.restored()
  tokenizer.encode(_random_images(-1, 1))
  tokenizer.encode(_random_images(0, 1.2))  # Bright, as a decoder may return.
  tokenizer.encode(_random_images(-1, 1.9))
  tokenizer.encode(np.ones((1, 8, 8, 3), np.float32))  # White.
  tokenizer.encode(np.zeros((0, 8, 8, 3), np.float32))
  tokenizer.encode(np.ones((1, 8, 8, 3), np.uint8))
  # Values are unknown while a function is traced.
  jax.jit(tokenizer.encode)(_random_images(0, 1))


@pytest.mark.parametrize('value', [tokenizers.WORDS, 2**20, 2**32 + 1, -2])
@pytest.mark.parametrize('depth', [None, 1])
def test_codes_outside_of_the_codebook_are_refused(value, depth):
  tokenizer = tokenizers.restored()
  codes = tokenizers.codes().astype(np.int64)
  codes[1, 2, 3, 2] = value
  with pytest.raises(ValueError) as error:
    tokenizer.decode(codes, depth=depth)
  assert str(error.value) == (
      f'codes[1, 2, 3, 2] is {value}, but codes at depth 3 must be in [0, 10),'
      ' or -1 for a missing code. Use the tokenizer that encoded them.'
  )
  if abs(value) < 2**31:  # JAX has no larger integers.
    with pytest.raises(ValueError, match=rf'\[1, 2, 3, 2\] is {value}, but'):
      tokenizer.decode(jnp.asarray(codes.astype(np.int32)))


def test_each_depth_has_codes_of_its_own():
  tokenizer = tokenizers.restored()
  model = tokenizer.model.clone(shared_codebook=False, codebook_size=(10, 4, 7))
  other = dataclasses.replace(tokenizer, model=model)
  for depth, size in enumerate((10, 4, 7)):
    codes = np.zeros((1, 4, 4, 3), np.uint8)
    codes[0, 0, 1, depth] = size
    with pytest.raises(
        ValueError, match=rf'depth {depth + 1} must be in \[0, {size}'
    ):
      other.decode(codes)


@pytest.mark.parametrize('dtype', [np.float32, bool])
def test_codes_that_are_no_integers_are_refused(dtype):
  tokenizer = tokenizers.restored()
  codes = np.zeros((1, 4, 4, 3), dtype)
  for given in (codes, jnp.asarray(codes)):
    with pytest.raises(ValueError, match=f'codes has dtype {codes.dtype}, but'):
      tokenizer.decode(given)
  with pytest.raises(ValueError, match='must be integers'):
    jax.jit(tokenizer.decode)(codes)


def test_codes_that_are_not_there_add_nothing():
  tokenizer = tokenizers.restored()
  codes = tokenizers.codes().copy()
  codes[..., 1:] = -1
  for given in (codes, jnp.asarray(codes), codes.astype(np.int8)):
    np.testing.assert_array_equal(
        tokenizer.decode(given), tokenizer.decode(tokenizers.codes(), depth=1)
    )


def test_pixels_are_rounded_to_the_nearest_level():
  levels = np.arange(256, dtype=np.uint8)
  exact = levels / np.float32(127.5) - 1
  for offset in (-0.49, 0, 0.49):
    moved = exact + np.float32(offset / 127.5)
    np.testing.assert_array_equal(tokenizer_lib.to_uint8(moved), levels)
  beyond = np.float32([-3, -1.01, 1.01, 3])
  np.testing.assert_array_equal(
      tokenizer_lib.to_uint8(beyond), np.uint8([0, 0, 255, 255])
  )


def test_images_of_another_type_are_refused():
  tokenizer = tokenizers.restored()
  with pytest.raises(ValueError, match='has dtype int32, but must be uint8'):
    tokenizer.encode(np.zeros((1, 8, 8, 3), np.int32))
