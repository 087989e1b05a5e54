"""Variables drawn with NumPy, since initializing modules compiles slowly."""

import jax
import numpy as np

from rq_jax.distributed import partitioning


def variables(module, *args, **kwargs):
  """Random variables of a module that is called with `args`."""
  shapes = partitioning.unbox(
      jax.eval_shape(module.init, jax.random.key(0), *args, **kwargs)
  )
  rng = np.random.default_rng(1)

  def draw(path, shape):
    values = 0.2 * rng.normal(size=shape.shape)
    name = getattr(path[-1], 'key', None) or path[-1].name
    if name == 'count':  # Of a codebook.
      values = 1 + np.abs(values)
    return np.float32(1 + values if name == 'scale' else values)

  return jax.tree_util.tree_map_with_path(draw, shapes)
