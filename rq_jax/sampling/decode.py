"""The decode loop: draws code maps in one compiled program.

A scan over the positions; the codes of a stack and the layers are unrolled.
Keys and values of the spatial transformer are kept in an explicit cache. What a
code contributes to the inputs is looked up in tables made once.
"""

from collections.abc import Sequence
import functools

import jax
import jax.numpy as jnp

from rq_jax.models import categorical
from rq_jax.models import code_layers
from rq_jax.models import rqtransformer
from rq_jax.models import transformer
from rq_jax.sampling import filtering
from rq_jax.sampling.options import Sampling
from rq_jax.typing import PyTree


@functools.partial(jax.jit, static_argnums=(0, 1))
def draw_codes(
    prior: rqtransformer.RQTransformer,
    sampling: Sampling,
    params: PyTree,
    codebooks: Sequence[jax.Array],
    uniforms: jax.Array,
    condition: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Draws code maps, position by position and, within each, by depth.

  Args:
    prior: The RQ-Transformer.
    sampling: How to draw from its logits.
    params: Its parameters.
    codebooks: Codewords of the tokenizer, see `RQTransformer.__call__`.
    uniforms: One number in [0, 1) for each code, float32[B, T, D].
    condition: int32[B, condition_length].

  Returns:
    Codes, int32[B, H, W, D], and the logits each was drawn from, before any
    filter, float32[B, H, W, D, K].
  """
  run = functools.partial(prior.apply, {'params': params})
  batch = len(condition)
  spatial_tables, depth_tables = run(codebooks, method='tables')
  stack = prior.make_spatial_stack()
  blocks = transformer.unstack(params.get('spatial_stack'), stack.layers)
  inputs = _cast(prior, run(condition, method='embed_condition'))
  known = prior.condition_length - 1
  caches = stack.empty_caches(batch, known + prior.positions)
  if known:
    _, caches = transformer.extend(stack, blocks, inputs[:, :known], caches, 0)
  offsets = run(codebooks, method='depth_offsets')

  def advance(carry, position):
    x, caches = carry  # [B, 1, E]
    index, uniforms, embedded_position = position
    context, caches = transformer.extend(stack, blocks, x, caches, index)
    codes, logits = _draw_stack(
        prior, sampling, params, depth_tables, offsets, context[:, 0], uniforms
    )
    contributed = code_layers.look_up(spatial_tables, codes)  # [B, D, E]
    x = jnp.sum(contributed, axis=1) + embedded_position[None]
    return (_cast(prior, x[:, None]), caches), (codes, logits)

  _, (codes, logits) = jax.lax.scan(
      advance,
      (inputs[:, known:], caches),
      (
          known + jnp.arange(prior.positions),
          jnp.moveaxis(uniforms, 1, 0),
          params['spatial_position'],
      ),
  )
  shape = (batch, *prior.code_shape)
  codes = jnp.moveaxis(codes, 0, 1).reshape(shape)
  return codes, jnp.moveaxis(logits, 0, 1).reshape(*shape, -1)


def uniforms(
    key: jax.Array, indices: jax.Array, positions: int, depth: int
) -> jax.Array:
  """Random numbers of images: key, int32[B] -> float32[B, T, D].

  Those of image i come from `fold_in(key, i)` alone.
  """

  def of_image(index):
    return jax.random.uniform(
        jax.random.fold_in(key, index), (positions, depth)
    )

  return jax.vmap(of_image)(indices)


def _draw_stack(
    prior, sampling, params, tables, offsets, context, uniforms
) -> tuple[jax.Array, jax.Array]:
  """Draws the codes of one position: [B, E], [B, D] -> [B, D], [B, D, K]."""
  stack = prior.make_depth_stack()
  blocks = transformer.unstack(params.get('depth_stack'), stack.layers)
  caches = stack.empty_caches(len(context), prior.depth)
  codes, all_logits = [], []
  contributed = context.astype(jnp.float32)
  for d in range(prior.depth):
    x = _cast(prior, contributed + offsets[None, d])[:, None]
    x, caches = transformer.extend(stack, blocks, x, caches, d)
    logits = prior.apply({'params': params}, x[:, 0], d, method='classify_at')
    code = categorical.draw(filtered(logits, sampling, d, prior.depth),
                            uniforms[:, d])  # fmt: skip
    codes.append(code)
    all_logits.append(logits)
    row = code_layers.at_depth(tables, d)[code].astype(jnp.float32)
    first_or_last = d == 0 or not prior.cumulative_depth_input
    contributed = row if first_or_last else contributed + row
  return jnp.stack(codes, axis=1), jnp.stack(all_logits, axis=1)


def filtered(
    logits: jax.Array, sampling: Sampling, d: int, depth: int
) -> jax.Array:
  """Applies the options of depth d of `depth`: float32[B, K] -> same."""
  top_k = sampling.by_depth('top_k', depth)[d]
  top_p = sampling.by_depth('top_p', depth)[d]
  logits = logits / sampling.by_depth('temperature', depth)[d]
  if top_k is not None and top_k < logits.shape[-1]:
    logits = filtering.keep_top_k(logits, top_k)
  if top_p < 1:
    logits = filtering.keep_top_p(logits, top_p)
  return logits


def _cast(prior, x: jax.Array) -> jax.Array:
  return x.astype(jnp.dtype(prior.dtype))
