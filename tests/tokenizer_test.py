"""A tokenizer from a folder does what its model does, on plain arrays."""

import dataclasses
import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax import config as config_lib
from rq_jax import tokenizer as tokenizer_lib
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import runs
from rq_jax.checkpoints import stored
from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.tokenizer import Tokenizer

_DEPTH, _WORDS = 3, 10


@functools.cache
def _config():
  model = dict(
      image_size=8,
      channels=8,
      channel_multipliers=(1, 2),
      res_blocks=1,
      attention_resolutions=(),
      z_channels=8,
      embed_dim=8,
      code_shape=(4, 4, _DEPTH),
      codebook_size=_WORDS,
      norm_groups=4,
  )
  return config_lib.check(
      dict(stage=1, data=dict(image_size=8), model=model, train=dict(steps=1))
  )


@functools.cache
def _variables():
  """Random variables; drawn by NumPy, as compiling `init` takes long."""
  model = build.rqvae(_config().model)
  shapes = partitioning.unbox(build.rqvae_variables(model))
  rng = np.random.default_rng(2)
  return jax.tree.map(
      lambda leaf: rng.normal(
          0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape
      ).astype(leaf.dtype),
      shapes,
  )


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """An inference copy of the tokenizer."""
  path = tmp_path_factory.mktemp('exported') / 'rqvae'
  inference_copy.export(path, _config(), _variables())
  return path


@pytest.fixture(scope='module')
def tokenizer(folder):
  """The tokenizer, restored from its inference copy."""
  return Tokenizer.restore(folder, verbose=False)


@functools.cache
def _images():
  return np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)


@functools.cache
def _codes():
  return np.random.default_rng(1).integers(
      0, _WORDS, (2, 4, 4, _DEPTH), np.int32
  )


def _leaves(variables):
  leaves = jax.tree_util.tree_leaves_with_path(variables)
  return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def test_bytes_and_floats_of_an_image_have_the_same_codes(tokenizer):
  floats = _images() / np.float32(127.5) - 1
  features = tokenizer.features(_images())
  assert features.shape == (2, 4, 4, 8) and features.dtype == jnp.float32
  # A division and the product with a reciprocal may differ in the last bit.
  np.testing.assert_allclose(
      tokenizer.features(floats), features, rtol=0, atol=1e-5
  )
  codes = tokenizer.encode(_images())
  assert codes.shape == (2, 4, 4, _DEPTH) and codes.dtype == jnp.int32
  np.testing.assert_array_equal(tokenizer.encode(floats), codes)


def test_features_are_those_of_the_model(tokenizer):
  expected = jax.jit(
      lambda x: tokenizer.model.apply(_variables(), x, method='features')
  )(_images() / np.float32(127.5) - 1)
  # Two programs of the same network, which may round differently.
  np.testing.assert_allclose(
      tokenizer.features(_images()), expected, rtol=1e-5, atol=1e-5
  )


def test_codes_choose_the_nearest_codeword_for_what_is_left(tokenizer):
  (words,) = map(np.asarray, tokenizer.codebooks)
  residual = np.asarray(tokenizer.features(_images()), np.float64)
  codes = np.asarray(tokenizer.encode(_images()))
  for depth in range(_DEPTH):
    distances = np.sum((residual[..., None, :] - words) ** 2, axis=-1)
    np.testing.assert_array_equal(codes[..., depth], distances.argmin(-1))
    residual = residual - words[codes[..., depth]]
  assert len(np.unique(codes)) > 2


@pytest.mark.parametrize('depth', [1, 2, None])
def test_decoding_to_a_depth_adds_that_many_codewords(tokenizer, depth):
  (words,) = map(np.asarray, tokenizer.codebooks)
  features = words[_codes()][..., :depth, :].sum(axis=-2)
  decoded = _decode(features)
  images = tokenizer.decode(_codes(), depth=depth)
  assert images.shape == (2, 8, 8, 3) and images.dtype == jnp.uint8
  expected = np.clip(np.asarray(decoded) * 127.5 + 127.5, 0, 255)
  # Half a level of rounding, and float32 noise of two different programs.
  assert np.abs(images - expected).max() <= 0.501
  assert images.std() > 1


@jax.jit
def _decode(features):
  model = build.rqvae(_config().model)
  return model.apply(_variables(), features, method='decode')


def test_every_depth_changes_the_image(tokenizer):
  images = [
      np.asarray(tokenizer.decode(_codes(), depth=d)) for d in (1, 2, None)
  ]
  assert not np.array_equal(images[0], images[1])
  assert not np.array_equal(images[1], images[2])


@pytest.mark.parametrize('depth', [0, -1, _DEPTH + 1])
def test_a_depth_that_stacks_do_not_have_is_refused(tokenizer, depth):
  with pytest.raises(ValueError, match=rf'depth={depth} must lie in \[1, 3\]'):
    tokenizer.decode(_codes(), depth=depth)


@pytest.mark.parametrize(
    'shape', [(2, 16, 16, 3), (8, 8, 3), (2, 8, 8, 1)], ids=str
)
def test_images_of_another_shape_are_refused(tokenizer, shape):
  images = np.zeros(shape, np.uint8)
  for method in (tokenizer.encode, tokenizer.features):
    with pytest.raises(AssertionError, match=r'\(None, 8, 8, 3\)'):
      method(images)


@pytest.mark.parametrize('shape', [(2, 4, 4, 2), (4, 4, 3)], ids=str)
def test_codes_of_another_shape_are_refused(tokenizer, shape):
  with pytest.raises(AssertionError, match=r'\(None, 4, 4, 3\)'):
    tokenizer.decode(np.zeros(shape, np.int32))


@pytest.mark.parametrize('value', [_WORDS, 2**20, 2**32 + 1, -2])
@pytest.mark.parametrize('depth', [None, 1])
def test_codes_outside_of_the_codebook_are_refused(tokenizer, value, depth):
  codes = _codes().astype(np.int64)
  codes[1, 2, 3, 2] = value
  with pytest.raises(ValueError) as error:
    tokenizer.decode(codes, depth=depth)
  assert str(error.value) == (
      f'codes[1, 2, 3, 2] is {value}, but the codes of depth 3 lie in [0, 10),'
      ' and -1 stands for none. Decode with the tokenizer that encoded them.'
  )
  if abs(value) < 2**31:  # JAX holds no more.
    with pytest.raises(ValueError, match=rf'\[1, 2, 3, 2\] is {value}, but'):
      tokenizer.decode(jnp.asarray(codes.astype(np.int32)))


def test_each_depth_has_codes_of_its_own(tokenizer):
  model = tokenizer.model.clone(shared_codebook=False, codebook_size=(10, 4, 7))
  other = dataclasses.replace(tokenizer, model=model)
  for depth, size in enumerate((10, 4, 7)):
    codes = np.zeros((1, 4, 4, 3), np.uint8)
    codes[0, 0, 1, depth] = size
    with pytest.raises(
        ValueError, match=rf'depth {depth + 1} lie in \[0, {size}'
    ):
      other.decode(codes)


@pytest.mark.parametrize('dtype', [np.float32, bool])
def test_codes_that_are_no_integers_are_refused(tokenizer, dtype):
  codes = np.zeros((1, 4, 4, 3), dtype)
  for given in (codes, jnp.asarray(codes)):
    with pytest.raises(ValueError, match=f'codes are {codes.dtype}; they must'):
      tokenizer.decode(given)
  with pytest.raises(ValueError, match='they must be integers'):
    jax.jit(tokenizer.decode)(codes)


def test_codes_that_are_not_there_add_nothing(tokenizer):
  codes = _codes().copy()
  codes[..., 1:] = -1
  for given in (codes, jnp.asarray(codes), codes.astype(np.int8)):
    np.testing.assert_array_equal(
        tokenizer.decode(given), tokenizer.decode(_codes(), depth=1)
    )


def test_a_copied_folder_is_the_same_tokenizer(
    tokenizer, folder, tmp_path, capsys
):
  moved = tmp_path / 'elsewhere'
  shutil.copytree(folder, moved)
  other = Tokenizer.restore(str(moved))
  assert capsys.readouterr().out == (
      f'Tokenizer: parameters of step 0 from {moved}.\n'
  )
  assert other.fingerprint == tokenizer.fingerprint
  assert other.fingerprint == inference_copy.fingerprint(_variables())
  inference_copy.check_fingerprint(moved, other.fingerprint)
  assert other.model == tokenizer.model
  expected = _leaves(_variables())
  for name, leaf in _leaves(other.variables).items():
    np.testing.assert_array_equal(leaf, expected[name])


def test_restoring_says_nothing_if_asked_not_to(folder, capsys):
  Tokenizer.restore(folder, verbose=False)
  assert not capsys.readouterr().out


def test_a_tokenizer_of_a_run_takes_the_step_and_parameters_asked_for(tmp_path):
  stored.write_config(tmp_path, _config())
  params, codebook = _variables()['params'], _variables()['codebook']
  with runs.Checkpoints(tmp_path, keep=2) as checkpoints:
    for step in (1, 2):
      state = {
          'params': jax.tree.map(lambda p, s=step: p + s, params),
          'codebook': codebook,
          'ema_params': jax.tree.map(lambda p, s=step: p - s, params),
      }
      checkpoints.save(step, state, {})

  def offset(**options):
    restored = Tokenizer.restore(tmp_path, verbose=False, **options).variables
    bias = restored['params']['to_rgb']['conv']['bias']
    return np.round(np.mean(bias - params['to_rgb']['conv']['bias']), 3)

  assert offset() == -2
  assert offset(ema=False) == 2
  assert offset(step=1) == -1
  assert offset(step=1, ema=False) == 1
  with pytest.raises(ValueError, match='no checkpoint of step 3'):
    offset(step=3)


def test_a_tokenizer_in_bfloat16_keeps_its_codebook(tokenizer, folder):
  half = Tokenizer.restore(folder, dtype='bfloat16', verbose=False)
  assert half.model.dtype == 'bfloat16'
  dtypes = {leaf.dtype for leaf in jax.tree.leaves(half.variables['params'])}
  assert dtypes == {jnp.dtype('bfloat16')}
  np.testing.assert_array_equal(half.codebooks[0], tokenizer.codebooks[0])
  features = half.features(_images())
  assert features.dtype == jnp.float32
  # Eight bits of mantissa, through about ten layers.
  expected = np.asarray(tokenizer.features(_images()))
  error = np.abs(features - expected).max() / np.abs(expected).max()
  assert 0 < error < 0.05


def test_a_tokenizer_is_spread_over_a_mesh(tokenizer, folder):
  mesh = partitioning.make_mesh(dict(fsdp=2, model=2, data=2))
  spread = Tokenizer.restore(folder, mesh=mesh, verbose=False)
  abstract = build.rqvae_variables(spread.model)
  expected = _leaves(partitioning.state_sharding(abstract, mesh))
  for name, leaf in _leaves(spread.variables).items():
    assert leaf.sharding == expected[name]
  kernel = spread.variables['params']['encoder']
  assert any(not x.is_fully_replicated for x in jax.tree.leaves(kernel))
  assert spread.fingerprint == tokenizer.fingerprint
  np.testing.assert_array_equal(
      spread.encode(_images()), tokenizer.encode(_images())
  )


def test_a_folder_of_a_prior_is_no_tokenizer(tmp_path):
  prior = config_lib.check(
      dict(stage=2, tokenizer='rqvae', train=dict(steps=1))
  )
  stored.write_config(tmp_path, prior)
  with pytest.raises(ValueError, match='holds an RQ-Transformer'):
    Tokenizer.restore(tmp_path)
  stored.write_config(tmp_path, _config())
  with pytest.raises(ValueError, match='no complete checkpoint yet'):
    Tokenizer.restore(tmp_path)


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


def test_images_of_another_type_are_refused(tokenizer):
  with pytest.raises(ValueError, match='images are int32; they must be uint8'):
    tokenizer.encode(np.zeros((1, 8, 8, 3), np.int32))
