"""Decodes missing codes, and large batches in parts."""

import jax
import numpy as np
import pytest

from rq_jax import tokenizer as tokenizer_lib
from rq_jax.distributed import partitioning
from tests.sampling import models

pytestmark = pytest.mark.slow

_TOKENIZER = models.random_tokenizer()


def _codes(count):
  shape = (count, *_TOKENIZER.model.code_shape)
  return np.random.default_rng(0).integers(12, size=shape, dtype=np.int32)


def _pixels(codes, **options):
  return np.asarray(_TOKENIZER.decode(codes, **options), np.int32)


@pytest.fixture
def parts(monkeypatch):
  """Sets how many images are decoded at a time; counts those of each part."""
  image = tokenizer_lib.decoding_bytes(_TOKENIZER.model, 1)
  model = type(_TOKENIZER.model)
  decode_codes, seen = model.decode_codes, []

  def noting(self, codes, **options):
    seen.append(len(codes))
    return decode_codes(self, codes, **options)

  def at_a_time(count):
    seen.clear()
    tokenizer_lib._decode.on('cpu').clear_cache()
    budget = count * image + image // 2
    monkeypatch.setattr(tokenizer_lib, '_DECODING_BUDGET', budget)
    return seen

  monkeypatch.setattr(model, 'decode_codes', noting)
  yield at_a_time
  tokenizer_lib._decode.on('cpu').clear_cache()


def test_codes_that_are_not_there_add_nothing():
  codes = _codes(3)
  for depth in (1, 2):
    some = codes.copy()
    some[..., depth:] = -1
    np.testing.assert_array_equal(_pixels(some), _pixels(codes, depth=depth))
  # The same holds for missing codes at some positions.
  some = codes.copy()
  some[0, 1, 0] = some[2, 0, 1, 1] = -1
  (words,) = map(np.asarray, _TOKENIZER.codebooks)
  looked_up = words[some]
  looked_up[some < 0] = 0
  features = _TOKENIZER.model.bind(_TOKENIZER.variables).quantizer.unfold(
      looked_up.sum(axis=-2)
  )
  decoded = jax.jit(_TOKENIZER.model.apply, static_argnames='method')(
      _TOKENIZER.variables, features, method='decode'
  )
  expected = np.clip(np.asarray(decoded) * 127.5 + 127.5, 0, 255)
  assert np.abs(_pixels(some) - expected).max() <= 0.501
  changed = np.abs(_pixels(some) - _pixels(codes)).max(axis=(1, 2, 3)) > 1
  np.testing.assert_array_equal(changed, [True, False, True])


@pytest.mark.parametrize(
    ('at_a_time', 'part'), [(1, 1), (2, 2), (3, 3), (4, 4), (6, 4), (7, 7)]
)
def test_parts_of_a_batch_are_decoded_as_the_whole_is(at_a_time, part, parts):
  codes, whole = _codes(7), _pixels(_codes(7))
  assert len(np.unique(whole, axis=0)) == 7
  seen = parts(at_a_time)
  # A program of another size may round a pixel to the next level.
  assert np.abs(_pixels(codes) - whole).max() <= 1
  assert set(seen) == {part}
  coarse = np.where(np.arange(2) < 1, codes, -1)
  assert np.abs(_pixels(codes, depth=1) - _pixels(coarse)).max() <= 1


@pytest.mark.parametrize(
    ('shape', 'count', 'at_a_time', 'part'),
    [
        (dict(data=8), 24, 2, 8 * 2),
        (dict(data=8), 40, 3, 8 * 3),
        (dict(data=2, fsdp=2, model=2), 20, 2, 4 * 2),
        (dict(model=8), 5, 2, 2),
    ],
    ids=str,
)
def test_each_device_decodes_its_part(shape, count, at_a_time, part, parts):
  whole = _pixels(_codes(count))
  mesh = partitioning.make_mesh(shape)
  sharding = partitioning.batch_sharding(mesh)
  codes = jax.device_put(_codes(count), sharding)
  seen = parts(at_a_time)
  images = _TOKENIZER.decode(codes)
  assert np.abs(np.asarray(images, np.int32) - whole).max() <= 1
  assert set(seen) == {part}
  assert images.sharding.is_equivalent_to(sharding, images.ndim)


def test_a_few_images_take_the_memory_of_a_few(parts):
  parts(3)
  image = 4 * 4 * 16 * 16 * 8  # Four maps of 16x16 of 8 channels, float32.
  for count, bytes_ in ((1, image), (3, 3 * image), (100, 3 * image)):
    assert tokenizer_lib.decoding_bytes(_TOKENIZER.model, count) == bytes_


def test_an_image_that_is_larger_than_the_budget_is_decoded_alone(
    parts, monkeypatch
):
  whole = _pixels(_codes(2))
  seen = parts(1)
  monkeypatch.setattr(tokenizer_lib, '_DECODING_BUDGET', 1)
  assert np.abs(_pixels(_codes(2)) - whole).max() <= 1
  assert set(seen) == {1}


def test_no_images_are_decoded_to_none():
  assert _TOKENIZER.decode(_codes(0)).shape == (0, 16, 16, 3)


def test_a_jitted_function_may_decode():
  images = jax.jit(_TOKENIZER.decode)(_codes(3))
  assert np.abs(np.asarray(images, np.int32) - _pixels(_codes(3))).max() <= 1
