"""Runs the decode loop: places a batch and draws it."""

from collections.abc import Iterator
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.distributed import partitioning
from rq_jax.models import rqtransformer
from rq_jax.sampling import decode
from rq_jax.sampling import requests
from rq_jax.sampling.requests import Request
from rq_jax.sampling.requests import Wanted
from rq_jax.sampling.weights import Weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Engine:
  """Draws code maps.

  Attributes:
    prior: The RQ-Transformer.
    weights: Its weights, from `weights.prepare`.
    mesh: Where to draw; one device if None.
  """

  prior: rqtransformer.RQTransformer
  weights: Weights
  mesh: jax.sharding.Mesh | None

  def codes(
      self,
      key: jax.Array,
      wanted: Wanted,
      *,
      given: np.ndarray | None = None,
      keep: np.ndarray | None = None,
  ) -> jax.Array:
    """Draws code maps: -> int32[B, H, W, D].

    Args:
      key: All draws derive from it.
      wanted: What to draw.
      given: Codes that are known, int32[B, H, W, D]; None for none.
      keep: Where they are kept, bool[B, T, D].
    """
    request = self._prepare(key, wanted, given, keep)
    codes, _ = decode.draw_codes(
        self.prior, self.weights, wanted.options, request, mesh=self.mesh
    )
    return codes[: len(wanted.condition)]

  def rows(self, key: jax.Array, wanted: Wanted) -> Iterator[jax.Array]:
    """Draws code maps row by row; see `Sampler.stream`."""
    request = self._prepare(key, wanted, None, None)
    return self._rows(wanted.options, request, len(wanted.condition))

  def _rows(self, options, request, count: int) -> Iterator[jax.Array]:
    rows, columns, _ = self.prior.code_shape
    progress = _start(
        self.prior,
        self.weights,
        request.condition,
        guided=options.guided,
        mesh=self.mesh,
    )
    codes = jnp.full((count, *self.prior.code_shape), -1, jnp.int32)
    for row in range(rows):
      progress, drawn, _ = _advance(
          self.prior,
          self.weights,
          options,
          request,
          progress,
          np.int32(row * columns),
          positions=columns,
      )
      codes = codes.at[:, row].set(drawn[:count])
      yield codes

  def _prepare(self, key: jax.Array, wanted: Wanted, given, keep) -> Request:
    """Places the batch, padded for the devices."""
    count = len(wanted.condition)
    split = self.mesh and partitioning.batch_parallelism(self.mesh)
    rows = np.arange(count + -count % (split or 1))
    rows = np.minimum(rows, count - 1)  # The last one fills up.
    request = requests.make(
        self.prior,
        wanted.condition[rows],
        requests.uniforms(
            key,
            wanted.indices[rows].astype(np.uint32),
            self.prior.positions,
            self.prior.depth,
        ),
        given=None if given is None else given[rows],
        keep=None if keep is None else keep[rows],
    )
    if self.mesh is not None:
      sharding = partitioning.batch_sharding(self.mesh)
      request = jax.device_put(request, sharding)
    return request


_start = jax.jit(
    decode.start, static_argnums=0, static_argnames=('guided', 'mesh')
)
_advance = functools.partial(
    jax.jit,
    static_argnums=0,
    static_argnames='positions',
    donate_argnames='progress',
)(decode.advance)
