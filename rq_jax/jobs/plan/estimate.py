"""Estimates the memory and cost of an experiment without running it.

Parameters, how the mesh splits them, memory and operations are computed from
shapes: neither data nor weights need to exist, nor the devices.
"""

from collections.abc import Mapping
import dataclasses
import math

import flax.linen as nn
import jax

from rq_jax.config import Experiment
from rq_jax.config import RQTransformerExperiment
from rq_jax.conversion.configs import writer
from rq_jax.distributed import partitioning
from rq_jax.jobs.plan import flops
from rq_jax.jobs.plan import problem as problem_lib
from rq_jax.typing import PyTree

# Parts of a model, and the modules in each part; None for all other modules.
_PARTS = {
    1: {
        'encoder': ('encoder', 'to_features'),
        'decoder': ('from_features', 'decoder', 'to_rgb'),
    },
    2: {
        'spatial transformer': ('spatial_stack',),
        'depth transformer': ('depth_stack',),
        'classifier': (
            'classifier',
            'condition_norm',
            'condition_classifier',
        ),
        'embeddings': None,
    },
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Array:
  """Arrays of the state that differ only in their names.

  Attributes:
    name: Name of the first array.
    count: Number of arrays.
    shape: Shape of each array.
    dtype: Type of each array.
    axes: Logical axis of each dimension; '-' for none.
    split: For each dimension, the mesh axes with more than one device that
      split it; '' for none.
    bytes_per_device: Bytes of each array on a device.
  """

  name: str
  count: int
  shape: tuple[int, ...]
  dtype: str
  axes: tuple[str, ...]
  split: tuple[str, ...]
  bytes_per_device: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """The estimated memory and cost of an experiment.

  Attributes:
    mesh: Number of devices along each mesh axis.
    slices: Number of slices, which divide the axis data.
    batch_size: Images in a step, on all devices together.
    dtype: Type of the computation.
    parameters: Number of parameters that are trained by gradients, by part of
      the model.
    others: Number of values in the codebook, which is trained by averaging, and
      of parameters in the discriminator; for stage 1.
    arrays: All trained arrays, the largest first.
    memory: Bytes on each device by purpose, without activations.
    forward_flops: Operations of a forward pass for one image.
    step_flops: Operations of a training step for one image, including the
      operations that the backward pass repeats.
    notes: Sentences about missing or uncounted parts.
    obstacles: All reasons why the official code cannot build the model and its
      tokenizer, as sentences.
    complete: Whether `obstacles` includes those of the tokenizer, which may not
      exist yet.
  """

  mesh: Mapping[str, int]
  slices: int
  batch_size: int
  dtype: str
  parameters: Mapping[str, int]
  others: Mapping[str, int]
  arrays: tuple[Array, ...]
  memory: Mapping[str, int]
  forward_flops: float
  step_flops: float
  notes: tuple[str, ...]
  obstacles: tuple[str, ...]
  complete: bool


def make(config: Experiment, devices: int) -> Plan:
  """Plans a checked experiment on a number of devices.

  Raises:
    ValueError: If the mesh or the batch does not fit the devices.
  """
  mesh = partitioning.abstract_mesh(vars(config.mesh), devices)
  partitioning.check_batch(
      config.data.batch_size, mesh, pieces=config.train.accumulate
  )
  problem = problem_lib.problem(config, mesh)
  task, boxed = problem.task, problem.state
  state = partitioning.unbox(boxed)
  size = config.data.batch_size
  step = flops.count(problem.train_step, task, state, problem.batch) / size
  models, complete = [config.model], True
  if isinstance(config, RQTransformerExperiment):
    tokenizer = problem_lib.known_tokenizer(config)
    complete = tokenizer is not None
    models = [tokenizer, *models] if complete else models
  others = {}
  if config.stage == 1:
    others = {
        'codebook': sum(
            book.embedding.size for book in state.codebook['quantizer'].values()
        ),
        'discriminator': _size(state.disc_params),
    }
  return Plan(
      mesh=dict(mesh.shape),
      slices=config.mesh.slices,
      batch_size=size,
      dtype=config.model.dtype,
      parameters=_by_part(state.params, config.stage),
      others={name: number for name, number in others.items() if number},
      arrays=_arrays(boxed, mesh),
      memory=_memory(boxed, task, mesh, config.train.verify_every > 0),
      forward_flops=flops.count(problem.forward, task, state),
      step_flops=step,
      notes=('Activations are not counted.', *problem.notes),
      obstacles=writer.obstacles(*models),
      complete=complete,
  )


def _size(tree: PyTree) -> int:
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def _by_part(params: PyTree, stage: int) -> dict[str, int]:
  parts, rest = {}, dict(params)
  for part, names in _PARTS[stage].items():
    names = list(rest) if names is None else names
    number = _size([rest.pop(name, {}) for name in names])
    if number:
      parts[part] = number
  return parts


def _bytes(tree: PyTree, mesh) -> int:
  """Bytes on each device of a tree with logical axes."""
  leaves = jax.tree.leaves(partitioning.unbox(tree))
  shardings = jax.tree.leaves(partitioning.state_sharding(tree, mesh))
  return sum(_shard_bytes(leaf, s) for leaf, s in zip(leaves, shardings))


def _shard_bytes(leaf: jax.ShapeDtypeStruct, sharding) -> int:
  return math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize


def _memory(state, task, mesh, verifies: bool) -> dict[str, int]:
  """Bytes on each device by purpose, without purposes that need none."""
  trained = (state.params, getattr(state, 'disc_params', None))
  memory = {
      'parameters': trained,
      'averaged parameters': state.ema_params,
      'optimizer': (state.opt_state, getattr(state, 'disc_opt_state', None)),
      'gradients': trained,
      'codebook': getattr(state, 'codebook', None),
      'frozen tokenizer': getattr(task, 'tokenizer_variables', None),
      'perceptual network': getattr(task, 'perceptual_variables', None),
      'copy for verify_every': state if verifies else None,
  }
  found = {name: _bytes(tree, mesh) for name, tree in memory.items()}
  return {name: number for name, number in found.items() if number}


def _arrays(state, mesh) -> tuple[Array, ...]:
  """All trained arrays, grouped by shape and sharding, the largest first."""
  groups: dict[tuple, list[str]] = {}
  for field in ('params', 'codebook', 'disc_params'):
    tree = getattr(state, field, None)
    specs = jax.tree.leaves(
        nn.get_partition_spec(tree),
        is_leaf=lambda x: isinstance(x, jax.sharding.PartitionSpec),
    )
    shardings = jax.tree.leaves(partitioning.state_sharding(tree, mesh))
    leaves = jax.tree.leaves_with_path(partitioning.unbox(tree))
    for (path, leaf), spec, sharding in zip(leaves, specs, shardings):
      name = jax.tree_util.keystr(path, simple=True, separator='/')
      name = name if field == 'params' else f'{field}/{name}'
      key = (leaf.shape, str(leaf.dtype), tuple(spec), sharding)
      groups.setdefault(key, []).append(name)
  arrays = []
  for (shape, dtype, spec, sharding), names in groups.items():
    leaf = jax.ShapeDtypeStruct(shape, dtype)
    missing = (None,) * (len(shape) - len(spec))
    placed = (*sharding.spec, *(None,) * (len(shape) - len(sharding.spec)))
    arrays.append(
        Array(
            name=names[0],
            count=len(names),
            shape=shape,
            dtype=dtype,
            axes=tuple(axis or '-' for axis in (*spec, *missing)),
            split=tuple(_devices(axis, mesh) for axis in placed),
            bytes_per_device=_shard_bytes(leaf, sharding),
        )
    )
  sizes = {a: a.count * math.prod(a.shape) for a in arrays}
  return tuple(sorted(arrays, key=lambda a: (-sizes[a], a.name)))


def _devices(axis: str | tuple[str, ...] | None, mesh) -> str:
  """Names of a dimension's mesh axes that have more than one device."""
  names = (axis,) if isinstance(axis, str) else axis or ()
  return '+'.join(name for name in names if mesh.shape[name] > 1)
