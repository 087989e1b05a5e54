import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.models import transformer
from tests import programs
from tests import random_numbers
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


def attend(p, x):
  """Causal attention in NumPy."""
  kernel = p['query_key_value']['kernel']
  bias = p['query_key_value'].get('bias', 0)
  qkv = np.einsum('bse,eknh->kbnsh', x, kernel) + np.reshape(
      bias, (3, 1, HEADS, 1, -1)
  )
  scores = qkv[0] @ qkv[1].swapaxes(-1, -2) / math.sqrt(WIDTH / HEADS)
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
  x = np.float64(inputs())
  for block in transformer.unstack(as_float64(params()), LAYERS):
    x = refine(block, x)
  assert_close(outputs(), x)


def test_scanned_layers_are_unrolled_layers():
  @jax.jit
  def unrolled(params, x):
    for block in transformer.unstack(params, LAYERS):
      x, _ = transformer.Block(**dict(BLOCK)).apply({'params': block}, x)
    return x

  assert_close(outputs(), unrolled(params(), inputs()))


def test_no_position_sees_a_later_one():
  x = inputs()
  x[:, 3] = inputs(1)[:, 3]
  changed = jax.jit(STACK.apply)({'params': params()}, x)
  np.testing.assert_array_equal(changed[:, :3], outputs()[:, :3])
  assert (np.abs(changed[:, 3:] - outputs()[:, 3:]).max((0, 2)) > 1e-3).all()


@pytest.mark.parametrize('pieces', [(1, 1, 1, 1, 1, 1), (3, 1, 2)])
def test_extending_piece_by_piece_equals_the_whole_sequence(pieces):
  blocks = transformer.unstack(params(), LAYERS)

  @jax.jit
  def extend(x, caches, start):
    return transformer.extend(STACK, blocks, x, caches, start)

  caches = STACK.empty_caches(2, 8)  # Longer than the sequence.
  start, found = 0, []
  for length in pieces:
    piece = inputs()[:, start : start + length]
    out, caches = extend(piece, caches, start)
    found.append(out)
    start += length
  assert_close(np.concatenate(found, axis=1), outputs())
  for keys, values in caches:
    assert keys[:, :, :6].all() and values[:, :, :6].all()
    assert not keys[:, :, 6:].any() and not values[:, :, 6:].any()


def test_recomputed_blocks_have_the_same_gradients():
  def gradients(remat):
    stack = transformer.Stack(LAYERS, (*BLOCK, ('dropout', 0.2)), remat)

    def loss(params, x):
      rngs = {'dropout': random_numbers.key(7)}
      out = stack.apply({'params': params}, x, True, rngs=rngs)
      return jnp.sum(jnp.sin(out))

    text = str(jax.make_jaxpr(jax.grad(loss))(params(), inputs()))
    assert ('remat' in text or 'checkpoint' in text) == remat
    return jax.jit(jax.grad(loss))(params(), inputs())

  jax.tree.map(assert_close, gradients(True), gradients(False))


def test_recomputing_keeps_products_with_kernels_and_no_scores():
  """Checks which values the forward pass stores for the backward pass."""
  stack = transformer.Stack(LAYERS, BLOCK, remat=True)

  def loss(params, x):
    return jnp.sum(jnp.sin(stack.apply({'params': params}, x, True)))

  jaxpr = jax.make_jaxpr(jax.grad(loss))(params(), inputs())
  forward, _ = (
      equation
      for equation in programs.equations_in(jaxpr.jaxpr)
      if equation.primitive.name == 'scan'
  )
  _, *kept = (value.aval.shape for value in forward.outvars)
  row = (LAYERS, *inputs().shape[:2])
  assert sorted(kept) == sorted(
      [
          (*row, WIDTH),  # What each block is given.
          (*row, 3, HEADS, WIDTH // HEADS),  # Queries, keys and values.
          (*row, WIDTH),  # The result of the attention.
          (*row, 4 * WIDTH),  # The hidden layer, before its activation.
      ]
  )


def test_a_block_splits_its_result_over_the_devices_of_the_batch():
  """Otherwise, the partitioner may gather whole batches between two blocks."""
  mesh = partitioning.make_mesh(dict(data=2, fsdp=2, model=2))
  block = transformer.unstack(params(), LAYERS)[0]
  x = np.zeros((4, 6, WIDTH), np.float32)
  with partitioning.activate(mesh):
    jaxpr = jax.make_jaxpr(transformer.Block(**dict(BLOCK)).apply)(
        {'params': block}, x
    )
  (constraint,) = (
      equation
      for equation in programs.equations_in(jaxpr.jaxpr)
      if equation.primitive.name == 'sharding_constraint'
  )
  assert constraint.outvars == jaxpr.jaxpr.outvars
  sharding = constraint.params['sharding']
  assert sharding.spec == PartitionSpec(('data', 'fsdp'), None, None)


@pytest.mark.parametrize('rate', ['dropout', 'attention_dropout'])
def test_dropout_acts_in_training_alone(rate):
  stack = transformer.Stack(LAYERS, (*BLOCK, (rate, 0.5)))

  @functools.partial(jax.jit, static_argnums=0)
  def run(train, rng):
    rngs = {'dropout': rng}
    return stack.apply({'params': params()}, inputs(), train, rngs=rngs)

  assert_close(run(False, random_numbers.key(0)), outputs())
  first, second = (run(True, random_numbers.key(k)) for k in (0, 1))
  assert np.abs(first - outputs()).max() > 0.01
  assert np.abs(first - second).max() > 0.01


def test_layers_drop_out_differently():
  # Each layer only adds a constant, so the sum shows how many layers were
  # dropped.
  layers = 20
  stack = transformer.Stack(layers, (*BLOCK, ('dropout', 0.5)))
  x = np.zeros((2, 3, WIDTH), np.float32)

  @jax.jit
  def run():
    zeros = jax.tree.map(jnp.zeros_like, stack.init(random_numbers.key(0), x))
    zeros = partitioning.unbox(zeros)['params']
    zeros['layers']['mlp_out']['bias'] += 1
    rngs = {'dropout': random_numbers.key(1)}
    return stack.apply({'params': zeros}, x, True, rngs=rngs)

  # Each is kept with probability 1/2 and doubled: sums are even, 20 on average.
  kept = np.asarray(run()) / 2
  assert_close(kept, np.round(kept))
  # Five standard errors of a mean of 96 binomial numbers: 5 * sqrt(5 / 96).
  assert abs(kept.mean() - layers / 2) < 1.15
  assert 0 < kept.std() < 5


def test_the_two_gelus_are_those_of_the_official_code():
  x = np.linspace(-4, 4, 41).astype(np.float32)
  exact = [v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x]
  assert_close(transformer.GELUS['exact'](x), exact)
  sigmoid = x / (1 + np.exp(-1.702 * x))
  assert_close(transformer.GELUS['sigmoid'](x), sigmoid)


def test_a_block_uses_the_gelu_that_it_is_given():
  block = transformer.unstack(params(), LAYERS)[0]

  def run(gelu):
    module = transformer.Block(**dict(BLOCK), gelu=gelu)
    return module.apply({'params': block}, inputs())[0]

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
  block = transformer.unstack(params(), LAYERS)[0]

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
  module = transformer.Block(**dict(BLOCK), **{option: False})
  needed = nn.unbox(jax.eval_shape(module.init, jax.random.key(0), inputs()))[
      'params'
  ]
  for name in without:
    layer = functools.reduce(
        lambda tree, key: tree[key], name.split('/'), needed
    )
    assert set(layer) == {'kernel'}
  kept = jax.tree_util.tree_map_with_path(
      lambda path, _: functools.reduce(lambda t, k: t[k.key], path, zeroed),
      needed,
  )
  expected, _ = transformer.Block(**dict(BLOCK)).apply(
      {'params': zeroed}, inputs()
  )
  assert_close(module.apply({'params': kept}, inputs())[0], expected)


def test_a_stack_without_layers_changes_nothing():
  stack = transformer.Stack(0, BLOCK)
  x, variables = stack.init_with_output(jax.random.key(0), inputs())
  np.testing.assert_array_equal(x, inputs())
  assert not variables
  assert stack.empty_caches(2, 8) == []


def test_bfloat16_stays_close_to_float32():
  stack = transformer.Stack(LAYERS, (*BLOCK, ('dtype', 'bfloat16')))
  out = jax.jit(stack.apply)(
      {'params': params()}, inputs().astype(jnp.bfloat16)
  )
  assert out.dtype == jnp.bfloat16
  assert stack.empty_caches(2, 8)[0][0].dtype == jnp.bfloat16
  # bfloat16 has 8 significant bits; the error grows over two layers.
  assert np.abs(np.float32(out) - outputs()).max() < 0.1


def test_layers_start_as_in_pytorch_and_differ():
  init = jax.jit(lambda: STACK.init(random_numbers.key(0), inputs()))
  layers = partitioning.unbox(init()['params'])['layers']
  for name, fan_in in (('mlp_in', WIDTH), ('mlp_out', 4 * WIDTH)):
    bound = 1 / math.sqrt(fan_in)
    for values in (layers[name]['kernel'], layers[name]['bias']):
      assert np.abs(values).max() <= bound
      assert np.abs(values).max() > 0.9 * bound
      assert (values[0] != values[1]).all()
