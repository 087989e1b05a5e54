"""The matrix products of drawing code maps, and nothing else.

What a device needs for them, one after the other in one program, is a bar that
products of this shape and number set: closer to what a sampler can reach than
a peak that only large products have.
"""

import functools

import jax
import jax.numpy as jnp

from rq_jax.jobs.benchmark import roofline
from rq_jax.jobs.benchmark import stand_in
from rq_jax.models import rqtransformer
from rq_jax.typing import PyTree


def weights(prior: rqtransformer.RQTransformer, seed: int = 0) -> PyTree:
  """Weights of each product apart, of the size that keeps what they multiply.

  Returns:
    'spatial' and 'depth', four matrices for each layer; 'classifier', one.
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
  """Multiplies through all positions and depths: [rows, E] -> same.

  A product needs the result of the one before it and, but for what keeps the
  compiler from merging two of them, there is nothing between.
  """

  def advance(x, _):
    for block in weights['spatial']:
      x = _multiply_block(block, x)
    for _ in range(prior.depth):
      for block in weights['depth']:
        x = _multiply_block(block, x)
      # Logits are float32, as those that a sampler draws from.
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
