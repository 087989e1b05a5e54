"""Sizes of blocks: what fits on an H200, for all published models."""

import jax
import jax.numpy as jnp
import pytest

from rq_jax.sampling.kernels import tiles

_BATCHES = (1, 8, 64, 500)
_SHARED_MEMORY = 227 * 1024
# Width and number of codewords of the published models.
_MODELS = ((1024, 2048), (1280, 16384), (1536, 16384), (2560, 16384))


def _kernels(dtype):
  for width, words in _MODELS:
    for shape in ((width, width), (width, 4 * width), (width, words)):
      yield jax.ShapeDtypeStruct(shape, dtype)


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float32])
def test_blocks_divide_kernels_and_fit_into_shared_memory(dtype):
  for kernel in _kernels(dtype):
    for rows in _BATCHES:
      size = tiles.of_product(rows, kernel)
      assert kernel.shape[0] % size.summed == 0
      assert kernel.shape[1] % size.columns == 0
      stage = (size.rows + size.columns) * size.summed * kernel.dtype.itemsize
      assert tiles.STAGES * stage <= _SHARED_MEMORY


def test_up_to_128_rows_weights_are_read_once():
  for kernel in _kernels(jnp.bfloat16):
    for rows in (1, 8, 64, 128):
      assert tiles.of_product(rows, kernel).rows >= rows


@pytest.mark.parametrize(
    ('rows', 'expected'), [(1, 16), (64, 16), (100, 32), (500, 64)]
)
def test_heads_have_as_few_rows_as_multiprocessors_allow(rows, expected):
  assert tiles.of_heads(rows, 24) == expected


def test_the_divisor_is_a_power_of_two():
  assert [tiles.divisor(n, 32) for n in (1536, 24, 7)] == [32, 8, 1]
