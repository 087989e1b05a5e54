"""Runs the decode loop: places a batch and draws it."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.distributed import partitioning
from rq_jax.models import rqtransformer
from rq_jax.sampling import programs
from rq_jax.sampling import requests
from rq_jax.sampling import weights as weights_lib
from rq_jax.sampling.kernels import choice
from rq_jax.sampling.requests import Request
from rq_jax.sampling.weights import Weights
from rq_jax.typing import PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Engine:
  """Draws code maps, with its own copy of the weights.

  Attributes:
    prior: The RQ-Transformer.
    mesh: Devices that share a batch; one device if None.
    lay_out: Makes the copy; called when it is first needed.
  """

  prior: rqtransformer.RQTransformer
  mesh: jax.sharding.Mesh | None
  lay_out: Callable[[], Weights]

  @functools.cached_property
  def weights(self) -> Weights:
    """Weights of the RQ-Transformer, from `weights.prepare`."""
    with jax.ensure_compile_time_eval():  # Also where a caller jits.
      return self.lay_out()

  def reserved_bytes(self) -> int:
    """Bytes that `weights` will take on each device; 0 once they are there.

    Of a mesh, only the axis `model` is known to split them.
    """
    if 'weights' in vars(self):
      return 0
    shapes = jax.tree.leaves(jax.eval_shape(self.lay_out))
    split = 1 if self.mesh is None else self.mesh.shape['model']
    return sum(x.size * x.dtype.itemsize for x in shapes) // split

  def codes(self, key: jax.Array, request: Request) -> jax.Array:
    """Draws code maps: -> int32[B, H, W, D].

    Args:
      key: Random key of all draws.
      request: Which code maps to draw, and how.
    """
    placed, uniforms = self._place(key, request)
    codes, _ = programs.draw_maps(
        self.prior, self.weights, placed, uniforms, mesh=self.mesh
    )
    return codes[: len(request.condition)]

  def rows(self, key: jax.Array, request: Request) -> Iterator[jax.Array]:
    """Draws code maps row by row; see `Sampler.stream`."""
    placed, uniforms = self._place(key, request)
    return self._rows(placed, uniforms, len(request.condition))

  def _rows(self, request, uniforms, count: int) -> Iterator[jax.Array]:
    rows, columns, _ = self.prior.code_shape
    progress = programs.start(
        self.prior,
        self.weights,
        request.condition,
        guided=request.guided,
        mesh=self.mesh,
    )
    codes = jnp.full((count, *self.prior.code_shape), -1, jnp.int32)
    for row in range(rows):
      progress, drawn, _ = programs.advance(
          self.prior,
          self.weights,
          request,
          uniforms,
          progress,
          np.int32(row * columns),
          positions=columns,
      )
      codes = codes.at[:, row].set(drawn[:count])
      yield codes

  def _place(
      self, key: jax.Array, request: Request
  ) -> tuple[Request, jax.Array]:
    """The batch, padded and placed on its devices, and its random numbers."""
    count = len(request.condition)
    split = self.mesh and partitioning.batch_parallelism(self.mesh)
    rows = np.arange(count + -count % (split or 1))
    rows = np.minimum(rows, count - 1)  # Pads with the last one.
    request = request.map_images(lambda x: x[rows])
    uniforms = requests.uniforms(
        key, request.indices, self.prior.positions, self.prior.depth
    )
    if self.mesh is not None:
      place = functools.partial(
          jax.device_put, device=partitioning.batch_sharding(self.mesh)
      )
      request, uniforms = request.map_images(place), place(uniforms)
    return request, uniforms


def prepare(
    prior: rqtransformer.RQTransformer,
    params: PyTree,
    codebooks: Sequence[jax.Array],
    *,
    mesh: jax.sharding.Mesh | None,
    kernels: str = 'xla',
    weights: str = 'float',
) -> Engine:
  """Makes the decode loop of a model.

  Args:
    prior: The RQ-Transformer.
    params: Its parameters.
    codebooks: Codewords of the tokenizer, see `RQTransformer.__call__`.
    mesh: Devices that share a batch; one device if None.
    kernels: What computes a step, see `kernels.choice`.
    weights: What holds the weights of the loop, see `kernels.choice`.

  Raises:
    ValueError: If the devices or the model cannot use the kernels.
  """
  devices = jax.local_devices()[:1] if mesh is None else [*mesh.devices.flat]
  choice.check_devices(kernels, devices)
  choice.check_model(kernels, prior)
  choice.check_weights(weights, kernels)
  lay_out = functools.partial(
      weights_lib.prepare,
      prior,
      params,
      codebooks,
      kernels=kernels,
      weights=weights,
  )
  return Engine(prior=prior, mesh=mesh, lay_out=lay_out)
