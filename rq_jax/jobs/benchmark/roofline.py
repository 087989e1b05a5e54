"""The work of drawing images, and the least time that a chip needs for it.

This counts only work that no implementation can avoid: weights are read once
for each product, products of a batch run at the peak, and nothing else takes
time. It does not count gaps between kernels, products below the peak, or the
traffic of the decoder's feature maps through memory.
"""

from collections.abc import Mapping
import dataclasses
import math

import jax
import jax.numpy as jnp

from rq_jax.distributed import partitioning
from rq_jax.jobs.plan import flops
from rq_jax.jobs.plan.chips import Chip
from rq_jax.models import build
from rq_jax.models import rqtransformer
from rq_jax.models import rqvae

# Number of tensors [rows, E] that a block reads or writes if its additions,
# activations and normalizations are fused with the products: the products and
# the attention read 10 and write 10, and the statistics read 2.
_TENSORS = 22
# Bytes of traffic per logit: each is written and read once as float32, and the
# search for the drawn code reads those of an image once more.
_LOGIT_BYTES = 8
_SEARCH_BYTES = 4
DECODER = 'decoder'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
  """A piece of work that is repeated a number of times, in sequence.

  Attributes:
    flops: Operations of each repetition; a multiplication and an addition are
      two.
    bytes: Bytes that each repetition moves through memory.
    times: Number of repetitions.
  """

  flops: float = 0
  bytes: float = 0
  times: int = 1

  def seconds(self, chip: Chip, dtype: str) -> float:
    """The least time of all repetitions, limited by compute or by memory."""
    compute = self.flops / chip.flops(dtype)
    return self.times * max(compute, self.bytes / chip.bytes_per_second)


Terms = Mapping[str, tuple[Work, ...]]


def autoregression(
    prior: rqtransformer.RQTransformer,
    batch: int,
    *,
    guided: bool = False,
    weights: str = 'float',
) -> Terms:
  """Work of drawing the code maps of a batch, by term.

  Args:
    prior: The RQ-Transformer; its computation, keys, values and activations
      have its dtype.
    batch: Number of images.
    guided: Whether each image is predicted twice, with and without condition.
    weights: What holds the weights, see `sampling.kernels.choice`.

  Returns:
    'spatial', 'depth' and 'classifier', the products with the weights of these
    parts; 'keys and values'; 'activations'; 'draws'; and 'prefill' if the
    condition is a text.
  """
  rows = (1 + guided) * batch
  size = jnp.dtype(prior.dtype).itemsize
  held = 1 if weights == 'int8' else size  # Bytes of a weight.
  spatial, depth = prior.positions, prior.positions * prior.depth
  layers = ((prior.spatial_layers, spatial), (prior.depth_layers, depth))
  tokens = rows * sum(number * steps for number, steps in layers)
  known = prior.condition_length - 1
  logits = max(prior.sizes) * depth
  terms = {
      'spatial': _block_products(
          prior, rows, held, prior.spatial_layers * spatial
      ),
      'depth': _block_products(prior, rows, held, prior.depth_layers * depth),
      'classifier': (
          _product(rows, prior.width, max(prior.sizes), held, depth),
      ),
      'keys and values': (Work(bytes=rows * _keys_and_values(prior)),),
      'activations': (Work(bytes=tokens * _TENSORS * prior.width * size),),
      'draws': (
          Work(bytes=logits * (rows * _LOGIT_BYTES + batch * _SEARCH_BYTES)),
      ),
  }
  if known:
    terms['prefill'] = _block_products(
        prior, rows * known, held, prior.spatial_layers
    )
  return terms


def decoding(model: rqvae.RQVAE, batch: int) -> Terms:
  """Work of decoding the code maps of a batch: 'decoder'."""
  codes = jax.ShapeDtypeStruct((batch, *model.code_shape), jnp.int32)
  variables = partitioning.unbox(build.rqvae_variables(model))

  def decode(variables, codes):
    return model.apply(variables, codes, method='decode_codes')

  read = ('from_features', 'decoder', 'to_rgb')
  weights = sum(
      math.prod(leaf.shape)
      for leaf in jax.tree.leaves([variables['params'][name] for name in read])
  )
  return {
      DECODER: (
          Work(
              flops=flops.count(decode, variables, codes),
              bytes=weights * jnp.dtype(model.dtype).itemsize,
          ),
      )
  }


def operations(terms: Terms) -> dict[str, float]:
  """Floating-point operations by term, without terms that have none."""
  found = {
      name: sum(work.flops * work.times for work in works)
      for name, works in terms.items()
  }
  return {name: number for name, number in found.items() if number}


def ideal_seconds(terms: Terms, chip: Chip, dtype: str) -> dict[str, float]:
  """The least time of each term on a chip for computation in a dtype."""
  return {
      name: sum(work.seconds(chip, dtype) for work in works)
      for name, works in terms.items()
  }


def layer_passes(prior: rqtransformer.RQTransformer) -> int:
  """Number of layers that run in sequence for an image, with repetitions.

  The layers of the depth transformer run for each code, D times per position.
  """
  each = prior.spatial_layers + prior.depth * prior.depth_layers
  return prior.positions * each


def block_shapes(width: int) -> tuple[tuple[int, int], ...]:
  """Numbers of inputs and outputs of the four products of a block."""
  return (
      (width, 3 * width),
      (width, width),
      (width, 4 * width),
      (4 * width, width),
  )


def _block_products(
    prior, rows: int, size: int, times: int
) -> tuple[Work, ...]:
  return tuple(
      _product(rows, inputs, outputs, size, times)
      for inputs, outputs in block_shapes(prior.width)
  )


def _product(rows: int, inputs: int, outputs: int, size: int, times: int):
  return Work(
      flops=2 * rows * inputs * outputs,
      bytes=inputs * outputs * size,
      times=times,
  )


def _keys_and_values(prior) -> int:
  """Bytes of keys and values that are read and written for an image."""
  first, positions = prior.condition_length, prior.positions
  spatial = sum(range(first, first + positions)) + positions
  depth = sum(range(1, prior.depth + 1)) + prior.depth
  vectors = prior.spatial_layers * spatial
  vectors += prior.depth_layers * positions * depth
  return 2 * vectors * prior.width * jnp.dtype(prior.dtype).itemsize
