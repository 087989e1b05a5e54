"""A 3x3 convolution of a map at twice its resolution, by nearest neighbours.

Each pixel of the result sees only 2x2 pixels of the original map, some of them
several times. Four 2x2 convolutions, one for each pixel of a pair of rows and
columns, with sums of the weights, therefore give the same result with 4/9 of
the products. This halves the time on CPUs. TPUs and GPUs keep one convolution.
"""

import jax
import jax.numpy as jnp
import numpy as np

_LAYOUT = ('NHWC', 'HWIO', 'NHWC')
# Of a pair of rows, for the first and for the second: which of the three rows
# of weights fall on each of the two rows that it sees.
_SUMS = np.array(
    [[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], dtype=np.float32
)


@jax.custom_vjp
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Doubles and convolves: [B, H, W, C], [3, 3, C, F] -> [B, 2H, 2W, F]."""
  return jax.lax.platform_dependent(
      x, kernel, cpu=in_four, default=after_repeating
  )


def after_repeating(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """`convolve` as one convolution of the doubled map."""
  x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
  return jax.lax.conv_general_dilated(
      x, kernel, (1, 1), 'SAME', dimension_numbers=_LAYOUT
  )


def in_four(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """`convolve` as four convolutions of the original map."""
  summed = jnp.einsum(
      'apr,bqs,rscf->abpqcf',
      _SUMS,
      _SUMS,
      kernel.astype(jnp.float32),
      precision=jax.lax.Precision.HIGHEST,
  ).astype(kernel.dtype)
  rows = []
  for i in range(2):
    pixels = [
        jax.lax.conv_general_dilated(
            x,
            summed[i, j],
            (1, 1),
            ((1 - i, i), (1 - j, j)),
            dimension_numbers=_LAYOUT,
        )
        for j in range(2)
    ]
    rows.append(jnp.stack(pixels, axis=3))  # [B, H, W, 2, F]
  batch, height, width, _ = x.shape
  shape = (batch, 2 * height, 2 * width, kernel.shape[-1])
  return jnp.stack(rows, axis=2).reshape(shape)


def _backward(saved, gradient):
  def pulled(form):
    # Both are linear, and a transpose computes nothing forward.
    def pull(x, kernel, gradient):
      to_x = jax.linear_transpose(lambda x: form(x, kernel), x)
      to_kernel = jax.linear_transpose(lambda kernel: form(x, kernel), kernel)
      return to_x(gradient)[0], to_kernel(gradient)[0]

    return pull

  return jax.lax.platform_dependent(
      *saved, gradient, cpu=pulled(in_four), default=pulled(after_repeating)
  )


convolve.defvjp(lambda x, kernel: (convolve(x, kernel), (x, kernel)), _backward)
