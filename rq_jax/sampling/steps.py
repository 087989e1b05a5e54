"""The steps of the decode loop: plain functions, or Pallas kernels."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from rq_jax.models import categorical
from rq_jax.models import incremental
from rq_jax.sampling import filtering
from rq_jax.sampling.requests import Request


class Steps(NamedTuple):
  """Functions of one position, from which the decode loop is made.

  Attributes:
    spatial: Runs one position of the spatial transformer: prior, weights,
      inputs [B, 1, E], caches, position, length -> outputs [B, E], caches. For
      length, see `decode.advance`.
    depth: Runs one depth of the depth transformer and the classifier: prior,
      weights, inputs [B, E], the second result for each earlier depth -> logits
      float32[B, K], and what later depths need.
    draw: Draws codes: logits, numbers float32[B], request, d -> int32[B].
  """

  spatial: Callable
  depth: Callable
  draw: Callable


def of(kernels: str) -> Steps:
  """The functions of one position; for `kernels`, see `kernels.choice`."""
  if kernels == 'xla':
    return Steps(_spatial, _depth, _draw)
  # Importing Pallas takes time, and not every version of JAX may have it.
  from rq_jax.sampling.kernels import steps as kernel_steps

  return kernel_steps.pallas(interpret=kernels == 'interpret')


def _spatial(prior, weights, inputs, caches, position, length):
  x, caches = incremental.extend(
      prior.make_spatial_stack(),
      weights.spatial_blocks,
      inputs,
      caches,
      position,
      length=length,
  )
  return x[:, 0], caches


def _depth(prior, weights, x, earlier):
  x, new = incremental.append(
      prior.make_depth_stack(), weights.depth_blocks, x[:, None], earlier
  )
  params = {'params': weights.params}
  logits = prior.apply(params, x[:, 0], len(earlier), method='classify_at')
  return logits, new


def _draw(logits, numbers, request, d):
  return categorical.draw(filtered(logits, request, d), numbers)


def filtered(logits: jax.Array, request: Request, d: int) -> jax.Array:
  """Applies the temperature and filters of depth d: float32[B, K] -> same."""
  logits = logits / request.temperature[d]
  if request.filters_k[d]:
    logits = filtering.keep_top_k(logits, request.top_k[d])
  if request.filters_p[d]:
    logits = filtering.keep_top_p(logits, request.top_p[d])
  return logits
