"""Random numbers from programs that compile quickly."""

import math

import jax
from jax.extend import random
import jax.numpy as jnp


def key(seed):
  """A key like those of `jax.random.key`, for initial parameters and dropout.

  Each random number takes a few integer operations, instead of about a hundred
  with the usual generator. A program that draws all parameters of a model
  compiles seven times as fast.
  """
  return jax.random.key(seed, impl=_HASH)


def _mixed(x):
  """Integers whose bits depend on all bits of x: uint32[...] -> the same."""
  x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
  x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
  return x ^ (x >> 16)


def _numbered(key, shape):
  """A different integer for each element: uint32[1] -> uint32[*shape]."""
  numbers = jax.lax.iota(jnp.uint32, math.prod(shape))
  return _mixed(key + numbers * jnp.uint32(0x9E3779B9)).reshape(shape)


def _seed(seed):
  return _mixed(jnp.asarray(seed, jnp.uint32).reshape(1) + jnp.uint32(1))


def _split(key, shape):
  return _mixed(_numbered(key, shape) + jnp.uint32(1))[..., None]


def _fold_in(key, data):
  return _mixed(key + _mixed(data.astype(jnp.uint32) + jnp.uint32(2)))


def _bits(key, width, shape):
  assert width == 32
  return _numbered(key, shape)


_HASH = random.define_prng_impl(
    key_shape=(1,),
    seed=_seed,
    split=_split,
    random_bits=_bits,
    fold_in=_fold_in,
    name='hash',
    tag='hash',
)
