"""Kernels in the sizes of the 1.4B model are lowered for an NVIDIA GPU.

This needs no device and no compiler for one. It shows that the kernels use only
what Pallas lowers to Triton, how many there are, and which write in place.
"""

import functools
import re

import jax
import jax.numpy as jnp
import pytest

from rq_jax.distributed import partitioning
from rq_jax.models import build
from rq_jax.models import rqtransformer
from rq_jax.sampling import decode
from rq_jax.sampling import requests
from rq_jax.sampling import weights
from rq_jax.sampling.options import Sampling

_BATCH = 64


def _lowered(dtype):
  """The sampler with one layer in each transformer, as text."""
  prior = rqtransformer.RQTransformer(
      spatial_layers=1, depth_layers=1, num_classes=1000, dtype=dtype
  )
  abstract = build.rqtransformer_variables(prior)['params']
  words = jax.ShapeDtypeStruct((16384, 256), jnp.float32)
  laid_out = jax.eval_shape(
      functools.partial(weights.prepare, prior, kernels='pallas'),
      partitioning.unbox(abstract),
      (words,),
  )
  how = Sampling(top_k=100, top_p=0.9)
  request = requests.make(prior, jnp.zeros((_BATCH, 1), jnp.int32), how)
  shape = (_BATCH, prior.positions, prior.depth)
  numbers = jax.ShapeDtypeStruct(shape, jnp.float32)
  gpu = jax.sharding.AbstractDevice(
      device_kind='NVIDIA H200', num_cores=None, platform='gpu'
  )
  mesh = jax.sharding.AbstractMesh((), (), abstract_device=gpu)
  with jax.sharding.use_abstract_mesh(mesh):
    draw_maps = jax.jit(decode.draw_maps, static_argnums=0)
    traced = draw_maps.trace(prior, laid_out, request, numbers)
    return traced.lower(lowering_platforms=('cuda',)).as_text()


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_a_layer_is_four_kernels_and_a_filtered_draw_is_two(dtype):
  lines = _lowered(dtype).splitlines()
  calls = [line for line in lines if '@__gpu$xla.gpu.triton' in line]
  layers, depth = 1 + 4, 4
  assert len(calls) == 4 * layers + 2 * depth
  # Keys and values of the spatial transformer.
  in_place = [re.findall('output_operand_alias<', line) for line in calls]
  assert [len(found) for found in in_place if found] == [2]
