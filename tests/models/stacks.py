"""A small stack of transformer blocks, its inputs and its outputs."""

import functools

import jax
import numpy as np

from rq_jax.models import transformer
from tests.models import drawn

WIDTH, HEADS, LAYERS = 16, 2, 2
BLOCK = (('width', WIDTH), ('heads', HEADS))
STACK = transformer.Stack(LAYERS, BLOCK)
assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)


def inputs(seed=0, length=6):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(2, length, WIDTH)).astype(np.float32)


@functools.cache
def params():
  """Parameters of `STACK`."""
  return drawn.variables(STACK, inputs())['params']


@functools.cache
def outputs():
  return np.asarray(jax.jit(STACK.apply)({'params': params()}, inputs()))
