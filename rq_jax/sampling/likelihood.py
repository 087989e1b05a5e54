"""The likelihood of code maps under a model."""

from collections.abc import Sequence
import functools
import math

import flax.struct
import jax
import jax.numpy as jnp

from rq_jax.models import losses
from rq_jax.models import rqtransformer
from rq_jax.typing import Variables


@flax.struct.dataclass
class LogProb:
  """Log-likelihoods of code maps, at temperature 1 and without filters.

  These are likelihoods of codes, not of pixels.

  Attributes:
    nats: Log-likelihood of each map in nats, float32[B].
    nats_by_depth: Its sum over positions at each depth, float32[B, D].
    bits_per_code: Mean negative log-likelihood of a code in bits, float32[B].
  """

  nats: jax.Array
  nats_by_depth: jax.Array
  bits_per_code: jax.Array


@functools.partial(jax.jit, static_argnums=0)
def logits(
    prior: rqtransformer.RQTransformer,
    variables: Variables,
    codebooks: Sequence[jax.Array],
    codes: jax.Array,
    condition: jax.Array,
) -> jax.Array:
  """Logits of every code: -> float32[B, H, W, D, K]; see `log_prob`."""
  return prior.apply(variables, codes, condition, codebooks)


@functools.partial(jax.jit, static_argnums=0)
def log_prob(
    prior: rqtransformer.RQTransformer,
    variables: Variables,
    codebooks: Sequence[jax.Array],
    codes: jax.Array,
    condition: jax.Array,
) -> LogProb:
  """Exact log-likelihoods by the chain rule, in one forward pass.

  Args:
    prior: The RQ-Transformer.
    variables: The 'params' of the RQ-Transformer.
    codebooks: Codewords of the tokenizer, see `RQTransformer.__call__`.
    codes: int32[B, H, W, D].
    condition: int32[B, condition_length].
  """
  hidden, _ = prior.apply(
      variables, codes, condition, codebooks, method='hidden'
  )

  def of_positions(hidden, codes):
    logits = prior.apply(variables, hidden, method='classify')
    return losses.cross_entropy(logits, codes)

  by_code = losses.chunked_over_positions(
      of_positions,
      hidden,
      codes.reshape(len(codes), prior.positions, prior.depth),
      num_chunks=losses.num_position_chunks(
          len(codes), prior.positions, prior.depth, max(prior.sizes)
      ),
  )  # [B, T, D]
  by_depth = -jnp.sum(by_code, axis=1)
  nats = jnp.sum(by_depth, axis=1)
  count = prior.positions * prior.depth
  return LogProb(
      nats=nats,
      nats_by_depth=by_depth,
      bits_per_code=-nats / (count * math.log(2)),
  )
