"""Programs of the decode loop, for other platforms than the CPU."""

import functools

import jax
import numpy as np
import pytest

from rq_jax.distributed import partitioning
from rq_jax.models import rqtransformer
from rq_jax.sampling import decode
from rq_jax.sampling import programs
from rq_jax.sampling import requests
from rq_jax.sampling import weights
from rq_jax.sampling.options import Sampling
from tests.sampling import models

_WORDS = np.random.default_rng(1).normal(size=(12, 8)).astype(np.float32)


def _prior(**options):
  return rqtransformer.RQTransformer(
      code_shape=(2, 3, 3),
      codebook_size=12,
      embed_dim=8,
      width=16,
      heads=2,
      spatial_layers=2,
      depth_layers=1,
      **options,
  )


@functools.cache
def _params(prior):
  return models.random_variables(prior)['params']


@pytest.mark.parametrize(
    'options',
    [dict(num_classes=5), dict(text_vocab_size=9, text_length=4)],
    ids=['class', 'text'],
)
def test_the_layout_of_gpus_draws_the_same_codes(options):
  prior = _prior(**options)
  condition = np.random.default_rng(2).integers(
      5, size=(3, prior.condition_length), dtype=np.int32
  )
  request = requests.make(prior, condition, Sampling(top_p=0.9))
  numbers = requests.uniforms(jax.random.key(0), request.indices, 6, 3)
  drawn = [
      programs.draw_maps(
          prior,
          weights.prepare(prior, _params(prior), (_WORDS,), platform=platform),
          request,
          numbers,
          keep_logits=True,
      )
      for platform in ('cpu', 'gpu')
  ]
  (codes, logits), (codes_gpu, logits_gpu) = drawn
  np.testing.assert_array_equal(codes_gpu, codes)
  np.testing.assert_allclose(logits_gpu, logits, rtol=1e-5, atol=1e-5)


def test_where_caches_are_larger_than_weights_two_loops_draw_the_same():
  prior = _prior(num_classes=5)
  laid_out = weights.prepare(prior, _params(prior), (_WORDS,), platform='gpu')

  def loops_of(*args, **options):
    drawing = jax.make_jaxpr(
        functools.partial(decode.draw_maps, **options), static_argnums=0
    )
    return str(drawing(*args)).count('= scan[')

  def drawn(batch):
    labels = np.arange(batch)[:, None] % 5
    request = requests.make(prior, labels, Sampling())
    numbers = requests.uniforms(jax.random.key(3), request.indices, 6, 3)
    args = prior, laid_out, request, numbers
    return programs.draw_maps(*args)[0], loops_of(*args), args

  few, one, _ = drawn(3)
  many, two, args = drawn(40)
  assert (one, two) == (1, 2)
  # Eight devices have caches of five images each, and all weights.
  mesh = partitioning.make_mesh(dict(data=8))
  assert loops_of(*args, mesh=mesh) == 1
  np.testing.assert_array_equal(many[:3], few)


@pytest.mark.parametrize('shape', [dict(data=8), dict(fsdp=4, model=2)])
def test_on_a_mesh_the_layout_of_gpus_draws_the_codes_of_one_device(shape):
  prior, mesh = _prior(num_classes=5), partitioning.make_mesh(shape)
  request = requests.make(prior, np.arange(8)[:, None] % 5, Sampling(top_k=9))
  numbers = requests.uniforms(jax.random.key(1), request.indices, 6, 3)
  laid_out = weights.prepare(prior, _params(prior), (_WORDS,), platform='gpu')
  expected, _ = programs.draw_maps(prior, laid_out, request, numbers)
  place = functools.partial(
      jax.device_put, device=partitioning.batch_sharding(mesh)
  )
  codes, _ = programs.draw_maps(
      prior,
      jax.device_put(laid_out, partitioning.replicated(mesh)),
      request.map_images(place),
      place(numbers),
      mesh=mesh,
  )
  np.testing.assert_array_equal(codes, expected)


def test_on_gpus_all_layers_share_one_cache_that_the_loop_writes_in_place():
  prior = _prior(num_classes=5)
  prepare = functools.partial(weights.prepare, prior, _params(prior))
  shapes = []
  for platform in ('cpu', 'gpu'):
    laid_out = prepare((_WORDS,), platform=platform)
    progress = decode.start(
        prior, laid_out, np.zeros((3, 1), np.int32), guided=True, mesh=None
    )
    shapes.append([x.shape for x in jax.tree.leaves(progress.caches)])
  assert shapes == [[(6, 2, 6, 8)] * 4, [(2, 2, 6, 2, 6, 8)]]
