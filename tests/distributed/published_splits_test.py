"""How the parameters of the largest published models are split."""

import functools

import jax
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.models import rqtransformer
from rq_jax.models import rqvae


@functools.cache
def _published():
  """Shapes of the largest published models' parameters, with their axes."""
  prior = rqtransformer.RQTransformer(
      spatial_layers=42, depth_layers=6, num_classes=1000
  )
  codes = jax.ShapeDtypeStruct((1, 8, 8, 4), np.int32)
  condition = jax.ShapeDtypeStruct((1, 1), np.int32)
  words = (jax.ShapeDtypeStruct((16384, 256), np.float32),)
  image = jax.ShapeDtypeStruct((1, 256, 256, 3), np.float32)
  key = jax.random.key(0)
  return {
      'RQ-Transformer': jax.eval_shape(
          prior.init, key, codes, condition, words
      ),
      'RQ-VAE': jax.eval_shape(rqvae.RQVAE().init, key, image),
  }


def _split(name, **mesh):
  """Of each parameter: its path, its shape, and the shape on a device."""
  params = _published()[name]['params']
  placed = partitioning.state_sharding(params, partitioning.make_mesh(mesh))
  leaves = jax.tree_util.tree_leaves_with_path(partitioning.unbox(params))
  return [
      (jax.tree_util.keystr(path), leaf.shape, sharding.shard_shape(leaf.shape))
      for (path, leaf), sharding in zip(leaves, jax.tree.leaves(placed))
  ]


@pytest.mark.slow
@pytest.mark.parametrize('name', ['RQ-Transformer', 'RQ-VAE'])
def test_every_large_parameter_is_split_under_fsdp(name):
  large = [
      (path, whole, part)
      for path, whole, part in _split(name, fsdp=8)
      if np.prod(whole) * 4 > 2**20
  ]
  assert len(large) > 10
  for path, whole, part in large:
    assert np.prod(part) * 8 == np.prod(whole), f'{path} {whole} is whole'


@pytest.mark.parametrize('name', ['RQ-Transformer', 'RQ-VAE'])
def test_most_of_a_model_is_split_under_tensor_parallelism(name):
  _, shapes, parts = zip(*_split(name, model=8), strict=True)
  whole, part = (sum(map(np.prod, s)) for s in (shapes, parts))
  # An eighth, plus biases, norms and the two ends of the networks.
  assert part < 0.15 * whole
