"""Only the products of drawing: as many, and as large, as the sampler has."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rq_jax.jobs.benchmark import bare_products
from rq_jax.jobs.benchmark import roofline
from rq_jax.jobs.plan import flops
from rq_jax.models import rqtransformer

pytestmark = pytest.mark.slow

PRIOR = rqtransformer.RQTransformer(
    code_shape=(2, 3, 4),
    codebook_size=10,
    width=16,
    heads=2,
    spatial_layers=3,
    depth_layers=2,
    num_classes=5,
)


@pytest.mark.parametrize('kind', ['float', 'int8'])
@pytest.mark.parametrize('guided', [False, True])
def test_bare_products_are_all_that_the_roofline_counts(guided, kind):
  weights = bare_products.weights(PRIOR, kind=kind)
  x = jnp.ones((7 * (1 + guided), PRIOR.width))
  counted = flops.count(functools.partial(bare_products.run, PRIOR), weights, x)
  work = roofline.autoregression(PRIOR, 7, guided=guided, weights=kind)
  assert counted == sum(roofline.operations(work).values())
  for term, passes in (('spatial', 6), ('depth', 24), ('classifier', 24)):
    kernels = [w for w in jax.tree.leaves(weights[term]) if w.ndim == 2]
    read = passes * sum(kernel.nbytes for kernel in kernels)
    assert read == sum(each.bytes * each.times for each in work[term])


def test_every_bare_product_is_needed_for_the_result():
  weights = bare_products.weights(PRIOR)
  x = jnp.ones((3, PRIOR.width))
  result = bare_products.run(PRIOR, weights, x)
  assert np.all(np.isfinite(result)) and np.std(result) > 1e-3
  leaves, structure = jax.tree.flatten(weights)
  assert len(leaves) == 4 * (3 + 2) + 1
  for i, leaf in enumerate(leaves):
    changed = jax.tree.unflatten(
        structure, [*leaves[:i], leaf[:, ::-1], *leaves[i + 1 :]]
    )
    assert not np.allclose(bare_products.run(PRIOR, changed, x), result)


def test_bare_weights_are_of_the_dtype_and_keep_what_they_multiply():
  weights = bare_products.weights(PRIOR.clone(width=64, dtype='bfloat16'))
  (block, *_), classifier = weights['depth'], weights['classifier']
  kernels = [kernel.values for kernel in (*block, classifier)]
  # As the sampler lays them out on a CPU: outputs, then inputs.
  assert [kernel.shape for kernel in kernels] == [
      *((192, 64), (64, 64), (256, 64), (64, 256), (10, 64))
  ]
  for kernel in kernels:
    assert kernel.dtype == jnp.bfloat16
    spread = np.std(np.asarray(kernel, np.float32))
    assert spread == pytest.approx(kernel.shape[1] ** -0.5, rel=0.1)


def test_bare_weights_in_int8_are_rounded_as_those_of_the_sampler():
  prior = PRIOR.clone(width=64)
  exact = bare_products.weights(prior)['classifier'].values
  found = bare_products.weights(prior, kind='int8')['classifier']
  assert found.values.dtype == jnp.int8
  scales = np.abs(exact).max(axis=1) / 127
  np.testing.assert_allclose(found.scales, scales, rtol=1e-6)
  np.testing.assert_array_equal(found.values, np.round(exact / scales[:, None]))
