import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.models import transformer
from tests.models import stacks


def attend(p, x):
  """Causal attention in NumPy."""
  kernel = p['query_key_value']['kernel']
  bias = p['query_key_value'].get('bias', 0)
  qkv = np.einsum('bse,eknh->kbnsh', x, kernel) + np.reshape(
      bias, (3, 1, stacks.HEADS, 1, -1)
  )
  scores = (
      qkv[0] @ qkv[1].swapaxes(-1, -2) / math.sqrt(stacks.WIDTH / stacks.HEADS)
  )
  scores = np.where(np.tri(x.shape[1], dtype=bool), scores, -np.inf)
  weights = np.exp(scores - scores.max(-1, keepdims=True))
  weights /= weights.sum(-1, keepdims=True)
  mixed = np.einsum('bnsh,nhe->bse', weights @ qkv[2], p['out']['kernel'])
  return mixed + p['out'].get('bias', 0)


def normalize(p, x):
  x = x - x.mean(-1, keepdims=True)
  x = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-5)
  return x * p['scale'] + p['bias']


def refine(p, x):
  """A block in NumPy."""
  x = x + attend(p['attention'], normalize(p['norm1'], x))
  hidden = normalize(p['norm2'], x) @ p['mlp_in']['kernel']
  hidden = hidden + p['mlp_in'].get('bias', 0)
  erf = np.vectorize(math.erf)
  hidden = hidden * (1 + erf(hidden / math.sqrt(2))) / 2
  return x + hidden @ p['mlp_out']['kernel'] + p['mlp_out'].get('bias', 0)


def as_float64(tree):
  return jax.tree.map(lambda p: np.asarray(p, np.float64), tree)


def test_a_stack_is_its_blocks_one_after_the_other():
  x = np.float64(stacks.inputs())
  for block in transformer.unstack(as_float64(stacks.params()), stacks.LAYERS):
    x = refine(block, x)
  stacks.assert_close(stacks.outputs(), x)


def test_scanned_layers_are_unrolled_layers():
  @jax.jit
  def unrolled(params, x):
    for block in transformer.unstack(params, stacks.LAYERS):
      x, _ = transformer.Block(**dict(stacks.BLOCK)).apply({'params': block}, x)
    return x

  stacks.assert_close(
      stacks.outputs(), unrolled(stacks.params(), stacks.inputs())
  )


def test_no_position_sees_a_later_one():
  x = stacks.inputs()
  x[:, 3] = stacks.inputs(1)[:, 3]
  changed = jax.jit(stacks.STACK.apply)({'params': stacks.params()}, x)
  np.testing.assert_array_equal(changed[:, :3], stacks.outputs()[:, :3])
  assert (
      np.abs(changed[:, 3:] - stacks.outputs()[:, 3:]).max((0, 2)) > 1e-3
  ).all()


def test_the_two_gelus_are_those_of_the_official_code():
  x = np.linspace(-4, 4, 41).astype(np.float32)
  exact = [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x]
  stacks.assert_close(transformer.GELUS['exact'](x), exact)
  sigmoid = x / (1 + np.exp(-1.702 * x))
  stacks.assert_close(transformer.GELUS['sigmoid'](x), sigmoid)


def test_a_block_uses_the_gelu_that_it_is_given():
  block = transformer.unstack(stacks.params(), stacks.LAYERS)[0]

  def run(gelu):
    module = transformer.Block(**dict(stacks.BLOCK), gelu=gelu)
    return module.apply({'params': block}, stacks.inputs())[0]

  assert np.abs(run('exact') - run('sigmoid')).max() > 1e-4


@pytest.mark.parametrize(
    ('option', 'without'),
    [
        ('attention_bias', {'attention/query_key_value', 'attention/out'}),
        ('mlp_bias', {'mlp_in', 'mlp_out'}),
    ],
)
def test_projections_without_biases_are_those_with_biases_of_zero(
    option, without
):
  block = transformer.unstack(stacks.params(), stacks.LAYERS)[0]

  def edit(path, value):
    name = '/'.join(key.key for key in path)
    layer, _, kind = name.rpartition('/')
    return (
        jnp.zeros_like(value)
        if (kind, layer in without)
        == (
            'bias',
            True,
        )
        else value
    )

  zeroed = jax.tree_util.tree_map_with_path(edit, block)
  module = transformer.Block(**dict(stacks.BLOCK), **{option: False})
  needed = nn.unbox(
      jax.eval_shape(module.init, jax.random.key(0), stacks.inputs())
  )['params']
  for name in without:
    layer = functools.reduce(
        lambda tree, key: tree[key], name.split('/'), needed
    )
    assert set(layer) == {'kernel'}
  kept = jax.tree_util.tree_map_with_path(
      lambda path, _: functools.reduce(lambda t, k: t[k.key], path, zeroed),
      needed,
  )
  expected, _ = transformer.Block(**dict(stacks.BLOCK)).apply(
      {'params': zeroed}, stacks.inputs()
  )
  stacks.assert_close(
      module.apply({'params': kept}, stacks.inputs())[0], expected
  )


def test_a_stack_without_layers_changes_nothing():
  stack = transformer.Stack(0, stacks.BLOCK)
  x, variables = stack.init_with_output(jax.random.key(0), stacks.inputs())
  np.testing.assert_array_equal(x, stacks.inputs())
  assert not variables


def test_bfloat16_stays_close_to_float32():
  stack = transformer.Stack(
      stacks.LAYERS, (*stacks.BLOCK, ('dtype', 'bfloat16'))
  )
  out = jax.jit(stack.apply)(
      {'params': stacks.params()}, stacks.inputs().astype(jnp.bfloat16)
  )
  assert out.dtype == jnp.bfloat16
  # bfloat16 has 8 significant bits; the error grows over two layers.
  assert np.abs(np.float32(out) - stacks.outputs()).max() < 0.1
