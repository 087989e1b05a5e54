"""Weights of an RQ-Transformer, laid out for the decode loop."""

from collections.abc import Callable, Sequence
import functools

import flax.struct
import jax
import jax.numpy as jnp

from rq_jax.models import few_rows
from rq_jax.models import rqtransformer
from rq_jax.models import transformer
from rq_jax.typing import PyTree

_STACKS = ('spatial_stack', 'depth_stack')
_NORMS = {'norm1', 'norm2'}


@flax.struct.dataclass
class Weights:
  """The arrays that the decode loop reads.

  Attributes:
    params: Parameters of the RQ-Transformer, without those of its stacks.
    spatial_blocks: Parameters of each block of the spatial transformer.
    depth_blocks: Parameters of each block of the depth transformer. In int8,
      and with the kernels of XLA on a CPU, the weights of linear layers in the
      blocks and in the classifier are `few_rows.Kernel`s.
    spatial_tables: Inputs of the spatial transformer, see
      `RQTransformer.tables`.
    depth_tables: Inputs of the depth transformer, see `RQTransformer.tables`.
    depth_offsets: See `RQTransformer.depth_offsets`.
    joint_cache: Whether all layers share a cache, see `incremental.Caches`.
    kernels: What computes a step, see `kernels.choice`.
  """

  params: PyTree
  spatial_blocks: list[PyTree]
  depth_blocks: list[PyTree]
  spatial_tables: tuple[jax.Array, ...]
  depth_tables: tuple[jax.Array, ...]
  depth_offsets: jax.Array
  joint_cache: bool = flax.struct.field(pytree_node=False)
  kernels: str = flax.struct.field(pytree_node=False)


def prepare(
    prior: rqtransformer.RQTransformer,
    params: PyTree,
    codebooks: Sequence[jax.Array],
    *,
    platform: str | None = None,
    kernels: str = 'xla',
    weights: str = 'float',
) -> Weights:
  """Lays out weights for the decode loop, once, before the first draw.

  Args:
    prior: The RQ-Transformer.
    params: Its parameters.
    codebooks: Codewords of the tokenizer, see `RQTransformer.__call__`.
    platform: Platform that draws: 'cpu', 'gpu' or 'tpu'; the default one if
      None.
    kernels: What computes a step, see `kernels.choice`.
    weights: What holds the weights of the loop, see `kernels.choice`.
  """
  platform = platform or jax.default_backend()
  return _prepare(prior, platform, kernels, weights, params, codebooks)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _prepare(
    prior: rqtransformer.RQTransformer,
    platform: str,
    kernels: str,
    weights: str,
    params: PyTree,
    codebooks: Sequence[jax.Array],
) -> Weights:
  dtype = jnp.dtype(prior.dtype)
  if kernels == 'xla':  # Those of Pallas add biases in float32.
    params = _cast(params, dtype, _is_bias_of_block)
  cast = _cast(params, dtype, _is_kernel)
  run = functools.partial(prior.apply, {'params': cast})
  spatial_tables, depth_tables = run(codebooks, method='tables')
  first, int8 = platform == 'cpu' and kernels == 'xla', weights == 'int8'
  exact = params if int8 else cast  # It is rounded only once.
  spatial_blocks = transformer.unstack(
      exact.get('spatial_stack'), prior.spatial_layers
  )
  depth_blocks = transformer.unstack(
      exact.get('depth_stack'), prior.depth_layers
  )
  others = {n: p for n, p in cast.items() if n not in _STACKS}
  if first or int8:
    lay_out = functools.partial(_laid_out, outputs_first=first, int8=int8)
    spatial_blocks, depth_blocks = lay_out((spatial_blocks, depth_blocks))
    others |= lay_out({'classifier': exact['classifier']})
  return Weights(
      params=others,
      spatial_blocks=spatial_blocks,
      depth_blocks=depth_blocks,
      spatial_tables=spatial_tables,
      depth_tables=depth_tables,
      depth_offsets=run(codebooks, method='depth_offsets'),
      joint_cache=platform == 'gpu' and kernels == 'xla',
      kernels=kernels,
  )


def _cast(
    params: PyTree, dtype: jnp.dtype, chosen: Callable[[list[str]], bool]
) -> PyTree:
  """Casts the parameters whose path, a list of names, is chosen."""

  def cast(path, parameter):
    names = [key.key for key in path]
    return parameter.astype(dtype) if chosen(names) else parameter

  return jax.tree_util.tree_map_with_path(cast, params)


def _is_kernel(path: list[str]) -> bool:
  return path[-1] == 'kernel'


def _is_bias_of_block(path: list[str]) -> bool:
  """Whether a parameter is the bias of a linear layer, which would cast it."""
  of_norm = not _NORMS.isdisjoint(path)
  return path[0] in _STACKS and path[-1] == 'bias' and not of_norm


def _laid_out(params: PyTree, **options: bool) -> PyTree:
  """Parameters with all kernels laid out; for options, see `few_rows`."""

  def lay_out(path, parameter):
    if path[-1].key != 'kernel':
      return parameter
    layer = path[-2].key
    lay_one_out = functools.partial(
        few_rows.lay_out, summed=2 if layer == 'out' else 1, **options
    )
    by_depth = layer == 'classifier' and parameter.ndim == 3
    return (
        jax.vmap(lay_one_out)(parameter) if by_depth else lay_one_out(parameter)
    )

  return jax.tree_util.tree_map_with_path(lay_out, params)
