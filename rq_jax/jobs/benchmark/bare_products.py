"""Only the matrix products of drawing code maps, in one program.

Their time shows how fast a sampler can be, more closely than the peak of the
device, which only large products reach.
"""

import functools

import jax
import jax.numpy as jnp

from rq_jax.jobs.benchmark import roofline
from rq_jax.jobs.benchmark import stand_in
from rq_jax.models import rqtransformer
from rq_jax.typing import PyTree


def weights(prior: rqtransformer.RQTransformer, seed: int = 0) -> PyTree:
  """Random weights for each product, scaled to keep the size of activations.

  Returns:
    'spatial' and 'depth', with four matrices for each layer, and 'classifier',
    one matrix.
  """
  block = roofline.block_shapes(prior.width)
  shapes = {
      'spatial': [block] * prior.spatial_layers,
      'depth': [block] * prior.depth_layers,
      'classifier': (prior.width, max(prior.sizes)),
  }
  abstract = jax.tree.map(
      lambda shape: jax.ShapeDtypeStruct(shape, jnp.dtype(prior.dtype)),
      shapes,
      is_leaf=lambda x: isinstance(x, tuple) and isinstance(x[0], int),
  )
  return stand_in.draw(abstract, seed, scale=lambda leaf: leaf.shape[0] ** -0.5)


@functools.partial(jax.jit, static_argnums=0)
def run(
    prior: rqtransformer.RQTransformer, weights: PyTree, x: jax.Array
) -> jax.Array:
  """Runs the products of all positions and depths: [rows, E] -> same.

  Each product needs the result of the one before it. The only other operations
  keep the compiler from merging two products.
  """

  def advance(x, _):
    for block in weights['spatial']:
      x = _multiply_block(block, x)
    for _ in range(prior.depth):
      for block in weights['depth']:
        x = _multiply_block(block, x)
      # Logits are float32, as in the sampler.
      logits = jnp.matmul(
          x, weights['classifier'], preferred_element_type=jnp.float32
      )
      most = jnp.max(logits, axis=-1, keepdims=True)
      x = jnp.tanh(x + most.astype(x.dtype))
    return x, None

  return jax.lax.scan(advance, x, None, length=prior.positions)[0]


def _multiply_block(block, x: jax.Array) -> jax.Array:
  q, k, v = jnp.split(x @ block[0], 3, axis=-1)
  x = jnp.maximum(q, k) + v
  x = x @ block[1]
  hidden = jax.nn.relu(x @ block[2])
  return jnp.tanh(hidden @ block[3])
