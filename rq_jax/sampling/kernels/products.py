"""One kernel for a product of few rows and what stands around it.

Computes a LayerNorm, a product, a bias, a GELU and a residual connection, each
but the product only if it is given.
"""

from collections.abc import Callable, Sequence
import functools

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
import jax.numpy as jnp

from rq_jax.models import transformer
from rq_jax.sampling.kernels import costs
from rq_jax.sampling.kernels import gelu as gelus
from rq_jax.sampling.kernels import norms
from rq_jax.sampling.kernels import tiles


def project(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    norm: norms.Norm | None = None,
    gelu: str | None = None,
    dtype: jax.typing.DTypeLike | None = None,
    interpret: bool = False,
) -> jax.Array:
  """Computes gelu(norm(x) @ kernel + bias).

  The kernel maps rows [B, inputs] to [B, outputs].

  Args:
    x: Rows, [B, inputs].
    kernel: [inputs, outputs], in the dtype of x.
    bias: [outputs].
    norm: A LayerNorm of the rows.
    gelu: Name of a GELU.
    dtype: Dtype of the result; None for that of x. Sums are float32.
    interpret: Whether to run the program of the kernel with JAX, slowly.
  """
  (y,) = _run(
      x,
      kernel,
      bias,
      norm=norm,
      gelu=gelu,
      dtype=dtype or x.dtype,
      interpret=interpret,
  )
  return y


def add(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None,
    residual: jax.Array,
    *,
    interpret: bool = False,
) -> norms.Rows:
  """Computes residual + x @ kernel + bias, with moments.

  Args:
    x: Rows, [B, inputs].
    kernel: [inputs, E], in the dtype of x.
    bias: [E].
    residual: [B, E].
    interpret: Whether to run the program of the kernel with JAX, slowly.
  """
  return norms.Rows(
      *_run(
          x,
          kernel,
          bias,
          residual=residual,
          dtype=residual.dtype,
          interpret=interpret,
      )
  )


def plain(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None = None,
    *,
    norm: dict[str, jax.Array] | None = None,
    gelu: str | None = None,
    residual: jax.Array | None = None,
    dtype: jax.typing.DTypeLike | None = None,
) -> jax.Array:
  """The plain form of `project` and, without the moments, of `add`.

  `norm` holds the parameters of the LayerNorm, `scale` and `bias`.
  """
  if norm is not None:
    x = norms.plain(x, norm)
  y = jnp.matmul(x, kernel, preferred_element_type=jnp.float32)
  if bias is not None:
    y = y + bias.astype(jnp.float32)[None]
  if gelu is not None:
    y = transformer.GELUS[gelu](y)
  if residual is not None:
    y = y + residual.astype(jnp.float32)
  return y.astype(dtype or x.dtype)


def accumulate(
    read: Callable,
    kernels: Sequence[Callable],
    *,
    summed: int,
    step: int,
    shape: tuple[int, int],
) -> list[jax.Array]:
  """Products of the rows of a program with several kernels, in float32.

  Args:
    read: Function from `norms.reader`.
    kernels: Functions that read some rows of each kernel.
    summed: Rows of the kernels.
    step: Number of rows of the kernels to read at a time.
    shape: Shape of each product.
  """

  def add_block(index, sums):
    x = read(index * step, step)
    return [
        total + _dot(x, kernel(pl.ds(index * step, step)))
        for total, kernel in zip(sums, kernels, strict=True)
    ]

  zeros = [jnp.zeros(shape, jnp.float32) for _ in kernels]
  return jax.lax.fori_loop(0, summed // step, add_block, zeros)


def _dot(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A product with sums in float32, which rounds no factor to TF32."""
  exact = x.dtype == jnp.float32
  return jnp.dot(
      x,
      kernel,
      precision=jax.lax.Precision.HIGHEST if exact else None,
      preferred_element_type=jnp.float32,
  )


def _run(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array | None,
    *,
    norm: norms.Norm | None = None,
    gelu: str | None = None,
    residual: jax.Array | None = None,
    dtype: jax.typing.DTypeLike,
    interpret: bool,
) -> list[jax.Array]:
  """Runs the kernel: -> [the result], and its moments with a residual."""
  rows, columns = len(x), kernel.shape[1]
  size = tiles.of_product(rows, kernel)
  block = pl.BlockSpec((size.rows, size.columns), lambda i, j: (i, j))
  shapes, blocks = [jax.ShapeDtypeStruct((rows, columns), dtype)], [block]
  if residual is not None:
    moments = (rows, columns // size.columns)
    shapes += [jax.ShapeDtypeStruct(moments, jnp.float32)] * 2
    blocks += [pl.BlockSpec((size.rows, 1), lambda i, j: (i, j))] * 2
  # Programs with the same columns are neighbours, and share reads of weights.
  return pl.pallas_call(
      functools.partial(
          _kernel,
          rows=rows,
          blocks=0 if norm is None else norm.means.shape[1],
          step=size.summed,
          gelu=gelu,
      ),
      grid=(pl.cdiv(rows, size.rows), columns // size.columns),
      in_specs=[
          pl.BlockSpec((size.rows, len(kernel)), lambda i, j: (i, 0)),
          pl.BlockSpec((len(kernel), size.columns), lambda i, j: (0, j)),
          None
          if bias is None
          else pl.BlockSpec((size.columns,), lambda i, j: (j,)),
          None if norm is None else norms.specs(norm, size.rows),
          None if residual is None else block,
      ],
      out_specs=blocks,
      out_shape=shapes,
      compiler_params=triton.CompilerParams(
          num_warps=size.warps, num_stages=tiles.STAGES
      ),
      interpret=interpret,
      name='products',
      metadata=costs.describe(
          x,
          (x, kernel, bias, norm, residual, shapes),
          flops=2 * rows * kernel.size,
      ),
  )(x, kernel, bias, norm, residual)


def _kernel(
    x_ref,
    kernel_ref,
    bias_ref,
    norm,
    residual_ref,
    out_ref,
    *moments,
    rows,
    blocks,
    step,
    gelu,
):
  """One block of the result; see `project` and `add`."""
  height = len(x_ref)
  row = pl.program_id(0) * height + jnp.arange(height, dtype=jnp.int32)
  valid = row < rows
  (y,) = accumulate(
      norms.reader(x_ref, norm, valid, blocks),
      [lambda rows: kernel_ref[rows, :]],
      summed=x_ref.shape[1],
      step=step,
      shape=(height, kernel_ref.shape[1]),
  )
  mask = valid[:, None]
  if bias_ref is not None:
    y = y + bias_ref[...].astype(jnp.float32)[None]
  if gelu is not None:
    y = gelus.FUNCTIONS[gelu](y)
  if residual_ref is not None:
    residual = triton.load(residual_ref.at[:, :], mask=mask, other=0)
    y = y + residual.astype(jnp.float32)
  y = y.astype(out_ref.dtype)
  triton.store(out_ref.at[:, :], y, mask=mask)
  if moments:
    norms.store_moments(moments, y, mask)
