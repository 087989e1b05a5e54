"""Only the matrix products of drawing code maps, in one program.

Their time shows how fast a sampler can be, more closely than the peak of the
device, which only large products reach.
"""

import functools

import jax
import jax.numpy as jnp

from rq_jax import compiler_options
from rq_jax.jobs import stand_in
from rq_jax.jobs.benchmark import roofline
from rq_jax.models import few_rows
from rq_jax.models import rqtransformer
from rq_jax.typing import PyTree


def weights(
    prior: rqtransformer.RQTransformer, *, kind: str = 'float', seed: int = 0
) -> PyTree:
  """Random weights for each product, scaled to keep the size of activations.

  Args:
    prior: The RQ-Transformer.
    kind: What holds the weights, see `sampling.kernels.choice`.
    seed: Seed of the weights.

  Returns:
    'spatial' and 'depth', with four `few_rows.Kernel`s for each layer, and
    'classifier', one of them; all are laid out for the default platform.
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
  drawn = stand_in.draw(
      abstract, seed, scale=lambda leaf: leaf.shape[0] ** -0.5
  )
  lay_out = functools.partial(
      few_rows.lay_out,
      summed=1,
      outputs_first=jax.default_backend() == 'cpu',
      int8=kind == 'int8',
  )
  return jax.tree.map(lay_out, drawn)


@functools.partial(
    compiler_options.Jitted,
    options=compiler_options.few_rows,
    static_argnums=0,
)
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
      logits = weights['classifier'].multiply(x, dtype=jnp.float32)
      most = jnp.max(logits, axis=-1, keepdims=True)
      x = jnp.tanh(x + most.astype(x.dtype))
    return x, None

  return jax.lax.scan(advance, x, None, length=prior.positions)[0]


def _multiply_block(block, x: jax.Array) -> jax.Array:
  q, k, v = jnp.split(block[0].multiply(x), 3, axis=-1)
  x = jnp.maximum(q, k) + v
  x = block[1].multiply(x)
  hidden = jax.nn.relu(block[2].multiply(x))
  return jnp.tanh(block[3].multiply(hidden))
