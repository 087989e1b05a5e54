import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.models import code_layers

WIDTH = 8

assert_close = functools.partial(
    np.testing.assert_allclose, rtol=1e-5, atol=1e-5
)


def hidden():
  rng = np.random.default_rng(0)
  return rng.normal(size=(2, 5, 3, WIDTH)).astype(np.float32)


@functools.cache
def made(sizes, shared, dtype='float32'):
  """A classifier, its parameters, and its logits of `hidden()`."""
  module = code_layers.CodeClassifier(WIDTH, sizes, shared, dtype)

  @jax.jit
  def init():
    logits, variables = module.init_with_output(jax.random.key(0), hidden())
    return logits, partitioning.unbox(variables)

  logits, variables = init()
  return module, variables, np.asarray(logits)


CASES = [((7, 7, 7), True), ((7, 7, 7), False), ((7, 4, 2), False)]


@pytest.mark.parametrize(('sizes', 'shared'), CASES)
def test_logits_are_products_of_what_is_normalized(sizes, shared):
  _, variables, logits = made(sizes, shared)
  params = jax.tree.map(np.asarray, variables['params'])
  x = np.float64(hidden())
  x = x - x.mean(-1, keepdims=True)
  x = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-5)
  for d, size in enumerate(sizes):
    kernel, bias = params['kernel'], params['bias']
    if not shared:
      kernel, bias = kernel[d], bias[d]
    expected = x[:, :, d] @ kernel + bias
    assert_close(logits[:, :, d, :size], expected[..., :size])


@pytest.mark.parametrize(('sizes', 'shared'), CASES)
def test_logits_at_one_depth_are_those_of_whole_stacks(sizes, shared):
  module, variables, logits = made(sizes, shared)
  for d in range(3):
    actual = module.apply(variables, hidden()[:, 0, d], d, method='at')
    assert_close(actual, logits[:, 0, d])


def test_codes_that_a_codebook_lacks_are_never_likely():
  _, _, logits = made((7, 4, 2), False)
  likely = np.asarray(jax.nn.softmax(logits))
  for d, size in enumerate((7, 4, 2)):
    assert (likely[:, :, d, size:] == 0).all()
    assert (likely[:, :, d, :size] > 0).all()
  # Targets of 0 times masked logits are 0, not NaN.
  assert np.isfinite(logits).all()


def test_classifiers_start_as_the_official_ones():
  shared = made((7, 7, 7), True)[1]['params']
  bound = 1 / math.sqrt(WIDTH)
  assert 0.9 * bound < np.abs(shared['kernel']).max() <= bound
  assert np.abs(shared['bias']).max() <= bound
  own = made((7, 7, 7), False)[1]['params']
  # Deviation 0.02, within five standard errors of that of 168 numbers.
  assert own['kernel'].shape == (3, WIDTH, 7)
  assert abs(own['kernel'].std() - 0.02) < 0.006
  assert 0 < np.abs(own['bias']).max() < 0.1


def test_logits_are_float32_whatever_the_computation():
  _, _, exact = made((7, 7, 7), True)
  _, variables, logits = made((7, 7, 7), True, 'bfloat16')
  assert logits.dtype == variables['params']['kernel'].dtype == jnp.float32
  assert (logits != exact).any()
  # bfloat16 has 8 significant bits.
  assert_close(logits, exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize('shared', [True, False])
def test_rows_are_looked_up_in_the_tables_of_their_depth(shared):
  rng = np.random.default_rng(0)
  sizes = (6,) if shared else (6, 4, 3)
  tables = [jnp.asarray(rng.normal(size=(n, WIDTH))) for n in sizes]
  stacks = rng.integers(3, size=(2, 5, 3))
  actual = code_layers.look_up(tables, stacks)
  for d in range(3):
    table = tables[0 if shared else d]
    assert code_layers.at_depth(tables, d) is table
    np.testing.assert_array_equal(actual[:, :, d], table[stacks[:, :, d]])
