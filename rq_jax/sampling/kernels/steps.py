"""The steps of the decode loop, made of Pallas kernels.

A transformer layer is four kernels: attention with its norm, projection and
cache; the output projection with the residual connection; the first layer of
the MLP with its norm and GELU; the second with the residual connection.
"""

import functools

import jax
import jax.numpy as jnp

from rq_jax.models import code_layers
from rq_jax.models import incremental
from rq_jax.models import rqtransformer
from rq_jax.sampling import steps
from rq_jax.sampling.kernels import attention
from rq_jax.sampling.kernels import depth_attention
from rq_jax.sampling.kernels import draws
from rq_jax.sampling.kernels import heads
from rq_jax.sampling.kernels import norms
from rq_jax.sampling.kernels import products
from rq_jax.sampling.requests import Request
from rq_jax.sampling.weights import Weights
from rq_jax.typing import PyTree


@functools.cache
def pallas(*, interpret: bool) -> steps.Steps:
  """The steps made of kernels; see `steps.Steps`.

  Args:
    interpret: Whether to run the programs of the kernels with JAX, slowly.
  """
  make = functools.partial(functools.partial, interpret=interpret)
  return steps.Steps(make(_spatial), make(_depth), make(_draw))


def _spatial(
    prior: rqtransformer.RQTransformer,
    weights: Weights,
    inputs: jax.Array,
    caches: list[incremental.Pair],
    position: jax.Array,
    length: int | None,
    *,
    interpret: bool,
) -> tuple[jax.Array, list[incremental.Pair]]:
  del length  # The kernel reads only up to the position.
  rows, extended = norms.measure(inputs[:, 0]), []
  for params, cache in zip(weights.spatial_blocks, caches, strict=True):
    attended, cache = attention.attend(
        rows,
        params['norm1'],
        _heads(params),
        cache,
        position,
        interpret=interpret,
    )
    rows = _after_attention(params, rows, attended, prior.gelu, interpret)
    extended.append(cache)
  return rows.x, extended


def _depth(
    prior: rqtransformer.RQTransformer,
    weights: Weights,
    x: jax.Array,
    earlier: list[list[depth_attention.Pair]],
    *,
    interpret: bool,
) -> tuple[jax.Array, list[depth_attention.Pair]]:
  rows, pairs = norms.measure(x), []
  gelu = prior.depth_gelu or prior.gelu
  for i, params in enumerate(weights.depth_blocks):
    attended, pair = depth_attention.attend(
        rows,
        params['norm1'],
        _heads(params),
        [depth[i] for depth in earlier],
        interpret=interpret,
    )
    rows = _after_attention(params, rows, attended, gelu, interpret)
    pairs.append(pair)
  logits = _classify(prior, weights.params, rows, len(earlier), interpret)
  return logits, pairs


def _draw(
    logits: jax.Array,
    numbers: jax.Array,
    request: Request,
    d: int,
    *,
    interpret: bool,
) -> jax.Array:
  return draws.draw(
      logits,
      numbers,
      request.temperature,
      request.top_k if request.filters_k[d] else None,
      request.top_p if request.filters_p[d] else None,
      depth=d,
      interpret=interpret,
  )


def _heads(params: PyTree) -> heads.Heads:
  projection = params['attention']['query_key_value']
  return heads.Heads(projection['kernel'], projection.get('bias'))


def _after_attention(
    params: PyTree,
    rows: norms.Rows,
    attended: jax.Array,
    gelu: str,
    interpret: bool,
) -> norms.Rows:
  """The rest of a block: its last projection, and its MLP."""
  out, into, back = (
      params['attention']['out'],
      params['mlp_in'],
      params['mlp_out'],
  )
  kernel = out['kernel'].reshape(attended.shape[1], -1)
  add = functools.partial(products.add, interpret=interpret)
  rows = add(attended, kernel, out.get('bias'), rows.x)
  hidden = products.project(
      rows.x,
      into['kernel'],
      into.get('bias'),
      norm=norms.of(rows, params['norm2']),
      gelu=gelu,
      interpret=interpret,
  )
  return add(hidden, back['kernel'], back.get('bias'), rows.x)


def _classify(
    prior: rqtransformer.RQTransformer,
    params: PyTree,
    rows: norms.Rows,
    d: int,
    interpret: bool,
) -> jax.Array:
  """Logits of the codes at one depth; see `code_layers.CodeClassifier`."""
  layer = params['classifier']
  kernel, bias = layer['kernel'], layer['bias']
  if not prior.shared_classifier:
    kernel, bias = kernel[d], bias[d]
  logits = products.project(
      rows.x,
      kernel,
      bias,
      norm=norms.of(rows, layer['norm']),
      dtype=jnp.float32,
      interpret=interpret,
  )
  return code_layers.mask(logits, prior.sizes, prior.sizes[d])
