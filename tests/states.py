"""A small training state with all kinds of leaves, to save and compare."""

import functools

import flax
import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np
import optax

from rq_jax import config as config_lib
from rq_jax.checkpoints import runs
from rq_jax.distributed import partitioning
from rq_jax.models import codebook

MESHES = {
    '8': dict(fsdp=8),
    '1': dict(data=-1),
    '2x4': dict(data=2, fsdp=4),
}


@flax.struct.dataclass
class State:
  """A state with all kinds of leaves that a training state has."""

  step: jax.Array
  rng: jax.Array
  params: dict
  codebook: dict
  opt_state: optax.OptState
  ema_params: dict | None


@functools.cache
def state(*, averaged=True, seed=0):
  keys = jax.random.split(jax.random.key(seed), 4)
  params = {
      'dense': {
          'kernel': jax.random.normal(keys[0], (16, 8)),
          'bias': jax.random.normal(keys[1], (8,)),
      }
  }
  opt_state = optax.adam(1e-3).init(params)
  return State(
      step=jnp.asarray(3, jnp.int32),
      rng=keys[2],
      params=params,
      codebook={'quantizer': {'shared': codebook.init(keys[3], 8, 4)}},
      opt_state=jax.tree.map(lambda x: x + 1, opt_state),
      ema_params=(jax.tree.map(lambda p: p * 2, params) if averaged else None),
  )


def config(**model):
  """An experiment of stage 1, to save beside a state."""
  fields = dict(
      image_size=16,
      channels=8,
      channel_multipliers=(1, 2),
      norm_groups=4,
      code_shape=(8, 8, 2),
      **model,
  )
  return config_lib.check(
      dict(
          stage=1,
          data=dict(image_size=16),
          model=fields,
          train=dict(steps=1),
      )
  )


def other_stage():
  """An experiment of stage 2."""
  return config_lib.check(
      dict(stage=2, tokenizer='runs/rqvae', train=dict(steps=1))
  )


def variables(seed=0):
  whole = state(seed=seed)
  return {'params': whole.params, 'codebook': whole.codebook}


def shapes(tree):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def mesh(name):
  devices = jax.devices()[:1] if name == '1' else None
  return partitioning.make_mesh(MESHES[name], devices=devices)


def shardings(tree, mesh):
  """Splits matrices along the rows, over the axis 'fsdp' of the mesh."""
  rows = NamedSharding(mesh, PartitionSpec('fsdp'))
  whole = partitioning.replicated(mesh)
  return jax.tree.map(lambda x: rows if x.ndim == 2 else whole, tree)


def bits(x):
  if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
    x = jax.random.key_data(x)
  return np.asarray(x).view(np.uint8).tolist() if x.ndim else x.item()


def assert_same(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
    assert x.dtype == y.dtype and x.shape == y.shape
    assert bits(x) == bits(y)


def save(workdir, state, step=3, meta=None, keep=2):
  with runs.Checkpoints(workdir, keep=keep) as checkpoints:
    checkpoints.save(step, state, meta or {})
