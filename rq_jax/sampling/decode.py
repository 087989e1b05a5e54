"""The decode loop: draws code maps in one compiled program.

The program scans over the positions; depths and layers are unrolled. A cache
holds the keys and values of the spatial transformer. Tables, computed once,
hold what each code adds to the inputs.
"""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from rq_jax.distributed import partitioning
from rq_jax.models import code_layers
from rq_jax.models import incremental
from rq_jax.models import rqtransformer
from rq_jax.sampling import steps
from rq_jax.sampling.requests import Request
from rq_jax.sampling.weights import Weights


@flax.struct.dataclass
class Progress:
  """The state that the loop carries from one position to the next.

  With guidance, rows 2 i and 2 i + 1 hold image i with its condition and with
  the null class, so that both are on one device.

  Attributes:
    inputs: Next input of the spatial transformer, [B or 2 B, 1, E].
    caches: Keys and values of the spatial transformer.
  """

  inputs: jax.Array
  caches: incremental.Caches


def draw_maps(
    prior: rqtransformer.RQTransformer,
    weights: Weights,
    request: Request,
    uniforms: jax.Array,
    *,
    mesh: jax.sharding.Mesh | None = None,
    keep_logits: bool = False,
) -> tuple[jax.Array, jax.Array | None]:
  """Draws code maps, position by position and, within each, by depth.

  Args:
    prior: The RQ-Transformer.
    weights: From `weights.prepare`.
    request: Which code maps to draw, and how.
    uniforms: One number in [0, 1) per code, float32[B, T, D].
    mesh: Devices over which to split the caches, as batches are split.
    keep_logits: Whether to return logits as well, which take much memory.

  Returns:
    Codes, int32[B, H, W, D], and the logits of each draw, after guidance and
    before any filter, float32[B, H, W, D, K], or None.
  """
  progress = start(
      prior, weights, request.condition, guided=request.guided, mesh=mesh
  )
  drawn = []
  for positions in np.array_split(
      np.arange(prior.positions), _pieces(weights, progress.caches, mesh)
  ):
    progress, codes, logits = advance(
        prior,
        weights,
        request,
        uniforms,
        progress,
        int(positions[0]),
        positions=len(positions),
        length=prior.condition_length + int(positions[-1]),
        keep_logits=keep_logits,
    )
    drawn.append((codes, logits))
  codes, logits = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *drawn)
  shape = (len(codes), *prior.code_shape)
  if logits is not None:
    logits = logits.reshape(*shape, -1)
  return codes.reshape(shape), logits


def _pieces(
    weights: Weights,
    caches: incremental.Caches,
    mesh: jax.sharding.Mesh | None,
) -> int:
  """Number of loops, each of which reads the caches up to its last position."""
  if not weights.joint_cache:  # A CPU would copy what it reads.
    return 1
  blocks = jax.tree.leaves((weights.spatial_blocks, weights.depth_blocks))
  # Where the caches are most of the memory traffic, two loops read a quarter
  # less of them. Each further loop takes as long to compile as the first.
  parallel = 1 if mesh is None else partitioning.batch_parallelism(mesh)
  return 2 if _nbytes([caches]) > parallel * _nbytes(blocks) else 1


def _nbytes(arrays) -> int:
  return sum(array.size * array.dtype.itemsize for array in arrays)


def start(
    prior: rqtransformer.RQTransformer,
    weights: Weights,
    condition: jax.Array | np.ndarray,
    *,
    guided: bool,
    mesh: jax.sharding.Mesh | None,
) -> Progress:
  """Reads the condition: int32[B, condition_length]."""
  if guided:
    null = jnp.full_like(condition, prior.condition_size)
    condition = jnp.stack([condition, null], axis=1)  # [B, 2, S]
    condition = condition.reshape(-1, condition.shape[-1])
  stack = prior.make_spatial_stack()
  inputs = prior.apply(
      {'params': weights.params}, condition, method='embed_condition'
  )
  inputs = _cast(prior, inputs)
  known = prior.condition_length - 1
  caches = incremental.empty_caches(
      stack, len(condition), known + prior.positions, joint=weights.joint_cache
  )
  if mesh is not None:
    leading = 2 if weights.joint_cache else 0  # Layers; keys and values.
    split = partitioning.axes_sharding(
        (None,) * leading + ('batch', 'heads'),
        (1,) * leading + (len(condition), prior.heads),
        mesh,
    )
    caches = jax.lax.with_sharding_constraint(caches, split)
  if known:
    _, caches = incremental.extend(
        stack,
        weights.spatial_blocks,
        inputs[:, :known],
        caches,
        0,
        length=known,
    )
  return Progress(inputs=inputs[:, known:], caches=caches)


def advance(
    prior: rqtransformer.RQTransformer,
    weights: Weights,
    request: Request,
    uniforms: jax.Array,
    progress: Progress,
    first: jax.Array | int,
    *,
    positions: int | None = None,
    length: int | None = None,
    keep_logits: bool = False,
) -> tuple[Progress, jax.Array, jax.Array | None]:
  """Draws the codes of consecutive positions.

  Args:
    prior: The RQ-Transformer.
    weights: From `weights.prepare`.
    request: Which code maps to draw, and how.
    uniforms: One number in [0, 1) per code, float32[B, T, D].
    progress: From `start`, or from the call for the positions before.
    first: Index of the first position.
    positions: Number of positions, t; all if None.
    length: Number of positions that the caches hold at the end, if it is known
      when the program is compiled; they are read only up to there.
    keep_logits: Whether to return logits as well.

  Returns:
    The new progress, codes int32[B, t, D], and the logits of each draw,
    float32[B, t, D, K], or None.
  """
  run = steps.of(weights.kernels)
  count = prior.positions if positions is None else positions
  known = prior.condition_length - 1

  def step(progress, position):
    index, numbers, given, keep, scales, embedded = position
    context, caches = run.spatial(
        prior, weights, progress.inputs, progress.caches, known + index, length
    )
    codes, logits = _draw_stack(
        prior, weights, request, scales, context, numbers, given, keep
    )
    rows = _per_row(codes, request.guided)
    contributed = code_layers.look_up(weights.spatial_tables, rows)
    inputs = jnp.sum(contributed, axis=1) + embedded[None]  # [B, E]
    progress = Progress(inputs=_cast(prior, inputs[:, None]), caches=caches)
    return progress, (codes, logits if keep_logits else None)

  by_position = _by_position(prior, weights, request, uniforms)
  xs = [jax.lax.dynamic_slice_in_dim(x, first, count) for x in by_position]
  progress, drawn = jax.lax.scan(step, progress, xs)
  codes, logits = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), drawn)
  return progress, codes, logits


def _by_position(prior, weights, request, uniforms) -> tuple[jax.Array, ...]:
  """What each position of the loop needs: arrays [T, ...]."""
  by_image = (uniforms, request.given, request.keep)
  return (
      jnp.arange(prior.positions, dtype=jnp.int32),
      *(jnp.moveaxis(x, 1, 0) for x in by_image),
      request.guidance,
      weights.params['spatial_position'],
  )


def _draw_stack(
    prior, weights, request, scales, context, numbers, given, keep
) -> tuple[jax.Array, jax.Array]:
  """Draws the codes of one position: -> int32[B, D], float32[B, D, K].

  `context` is [B or 2 B, E], `scales` [D]; the other arrays are [B, D].
  """
  run = steps.of(weights.kernels)
  earlier = []
  codes, all_logits = [], []
  contributed = context.astype(jnp.float32)
  for d in range(prior.depth):
    x = _cast(prior, contributed + weights.depth_offsets[None, d])
    logits, new = run.depth(prior, weights, x, earlier)
    earlier.append(new)
    if request.guided:
      conditional, null = logits[::2], logits[1::2]
      logits = null + scales[d] * (conditional - null)
    drawn = run.draw(logits, numbers[:, d], request, d)
    code = jnp.where(keep[:, d], given[:, d], drawn)
    codes.append(code)
    all_logits.append(logits)
    if d == prior.depth - 1:  # No code of the stack follows.
      break
    table = code_layers.at_depth(weights.depth_tables, d)
    row = table[_per_row(code, request.guided)].astype(jnp.float32)
    first_or_last = d == 0 or not prior.cumulative_depth_input
    contributed = row if first_or_last else contributed + row
  return jnp.stack(codes, axis=1), jnp.stack(all_logits, axis=1)


def _per_row(codes: jax.Array, guided: bool) -> jax.Array:
  """Repeats codes for rows of the null class: [B, ...] -> [B or 2 B, ...]."""
  return jnp.repeat(codes, 2, axis=0) if guided else codes


def _cast(prior, x: jax.Array) -> jax.Array:
  return x.astype(jnp.dtype(prior.dtype))
