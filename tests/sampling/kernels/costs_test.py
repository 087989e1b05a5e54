"""What kernels say of their costs."""

import jax
import jax.numpy as jnp

from rq_jax.sampling.kernels import costs


def test_every_array_counts_once_in_its_own_type():
  x = jnp.zeros((3, 4), jnp.bfloat16)
  shape = jax.ShapeDtypeStruct((5,), jnp.float32)
  found = costs.describe(x, (x, [None, shape]), flops=7, more_bytes=100)
  assert found == {
      'bytes': str(3 * 4 * 2 + 5 * 4 + 100),
      'flops': '7',
      'rows': '3',
      'dtype': 'bfloat16',
  }
