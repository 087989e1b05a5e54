"""Where arrays live: the device mesh and the table of logical axes.

Models name the dimensions of their parameters and activations. Only the table
below decides which mesh axis splits each of them.
"""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import math

import flax.linen as nn
import jax
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec
import numpy as np

from rq_jax.typing import Batch, Device, PyTree

MESH_AXES = ('data', 'fsdp', 'model')

# `None` keeps a dimension whole.
LOGICAL_AXIS_RULES = (
    # Activations.
    ('batch', ('data', 'fsdp')),
    ('position', None),  # H * W spatial positions.
    ('activation', None),  # Model width, between blocks.
    # Parameters of transformers.
    ('embed', 'fsdp'),  # Model width, in kernels.
    ('code', None),  # Channels of a codeword.
    ('heads', 'model'),
    ('mlp', 'model'),
    ('vocab', 'model'),
    ('layers', None),  # The axis added by `nn.scan`.
    # Parameters of convolutional networks.
    ('conv_in', 'fsdp'),
    ('conv_out', 'model'),
)


def make_mesh(
    shape: Mapping[str, int], *, devices: list[Device] | None = None
) -> jax.sharding.Mesh:
  """Builds the device mesh.

  Args:
    shape: Devices along each of `MESH_AXES`. At most one may be -1, which
      stands for all the devices that remain; missing axes count as 1. In
      addition, `slices`, the number of groups of devices with fast connections
      inside each; only the axis `data` crosses slices.
    devices: The devices to arrange; None for all of them.

  Returns:
    A mesh whose axes are `MESH_AXES`.

  Raises:
    ValueError: If the shape names an unknown axis, does not cover the devices
      exactly, or does not fit their slices.
  """
  devices = jax.devices() if devices is None else devices
  sizes, slices = _sizes(shape, len(devices)), shape.get('slices', 1)
  _check_slices(slices, devices)
  if slices > 1:
    return _mesh_of_slices(sizes, slices, devices)
  # Logical rules only give hints to the partitioner, hence `Auto` axes.
  return jax.make_mesh(
      sizes,
      MESH_AXES,
      axis_types=(AxisType.Auto,) * len(MESH_AXES),
      devices=devices,
  )


def _check_slices(slices: int, devices: list[Device]) -> None:
  """Compares the slices with those of TPUs, which are separate networks."""
  found = len({_slice(device) for device in devices})
  if devices[0].platform == 'tpu' and found != slices:
    raise ValueError(
        f'config.mesh.slices={slices} must be {found}, the number of slices of'
        f' these {len(devices)} TPUs. Set --config.mesh.slices={found}.'
    )


def _slice(device: Device) -> int:
  return getattr(device, 'slice_index', None) or 0


def _mesh_of_slices(
    sizes: tuple[int, ...], slices: int, devices: list[Device]
) -> jax.sharding.Mesh:
  """A mesh whose first axis goes through one slice after the other.

  Devices that have no slices, or more of them, are divided in the order of
  their processes.
  """
  ordered = sorted(devices, key=lambda d: (_slice(d), d.process_index, d.id))
  size = len(devices) // slices
  inside = (sizes[0] // slices, *sizes[1:])
  blocks = [
      mesh_utils.create_device_mesh(inside, ordered[i * size : (i + 1) * size])
      for i in range(slices)
  ]
  return jax.sharding.Mesh(
      np.concatenate(blocks),
      MESH_AXES,
      axis_types=(AxisType.Auto,) * len(MESH_AXES),
  )


def abstract_mesh(shape: Mapping[str, int], devices: int) -> AbstractMesh:
  """The mesh that `make_mesh` would build if there were `devices` devices."""
  return AbstractMesh(
      _sizes(shape, devices),
      MESH_AXES,
      axis_types=(AxisType.Auto,) * len(MESH_AXES),
  )


def _sizes(shape: Mapping[str, int], devices: int) -> tuple[int, ...]:
  """Devices along each of `MESH_AXES`, with -1 resolved."""
  if unknown := set(shape) - {*MESH_AXES, 'slices'}:
    raise ValueError(
        f'config.mesh={dict(shape)} has unknown axes {sorted(unknown)}. The'
        f' mesh axes are {MESH_AXES}. Change --config.mesh.'
    )
  sizes = [shape.get(axis, 1) for axis in MESH_AXES]
  if wrong := [s for s in sizes if s == 0 or s < -1]:
    raise ValueError(
        f'config.mesh={dict(shape)} has an axis of {wrong[0]}. Each must be'
        ' positive, and one may be -1, for all remaining devices. Change'
        ' --config.mesh.'
    )
  if sizes.count(-1) > 1:
    raise ValueError(
        f'config.mesh={dict(shape)} has more than one -1. Only one axis may be'
        ' -1, for all remaining devices. Change --config.mesh.'
    )
  if -1 in sizes:
    sizes[sizes.index(-1)] = max(1, devices // -math.prod(sizes))
  if math.prod(sizes) != devices:
    raise ValueError(
        f'config.mesh={dict(shape)} needs {math.prod(sizes)} devices, but'
        f' there are {devices}. Set one of --config.mesh.data,'
        ' --config.mesh.fsdp and --config.mesh.model to -1 to use them all.'
    )
  slices = shape.get('slices', 1)
  if slices < 1 or sizes[0] % slices:
    raise ValueError(
        f'config.mesh={dict(shape)} has {slices} slices, which do not divide'
        f' the {sizes[0]} devices along the axis data. Only data parallelism'
        ' crosses slices. Change --config.mesh.slices or --config.mesh.data.'
    )
  return tuple(sizes)


@contextlib.contextmanager
def activate(mesh: jax.sharding.Mesh) -> Iterator[None]:
  """Activates the mesh and the rules of the table, for tracing models.

  Neither is part of the key of JAX's jit cache: enter this before the first
  call of a jitted function, and do not share the function between meshes.
  """
  with jax.set_mesh(mesh), nn.logical_axis_rules(LOGICAL_AXIS_RULES):
    yield


def state_sharding(abstract: PyTree, mesh: jax.sharding.Mesh) -> PyTree:
  """Shardings of a tree whose leaves carry logical axes (Flax boxes).

  Args:
    abstract: Shapes, as from `jax.eval_shape`; leaves may be boxed by
      `nn.with_logical_partitioning`. Leaves without a box are replicated.
    mesh: The mesh to place the arrays on.

  Returns:
    The unboxed tree with a `NamedSharding` for every leaf. A mesh axis that
    does not divide a dimension evenly leaves that dimension whole.

  Raises:
    ValueError: If a model names an axis that the table lacks; Flax itself would
      silently replicate the array.
  """
  return jax.tree.map(
      lambda spec, leaf: axes_sharding(spec, leaf.shape, mesh),
      nn.get_partition_spec(abstract),
      unbox(abstract),
      is_leaf=lambda x: isinstance(x, PartitionSpec),
  )


def axes_sharding(
    axes: Iterable[str | None],
    shape: tuple[int, ...],
    mesh: jax.sharding.Mesh,
) -> NamedSharding:
  """Sharding of an array by the logical axes of its first dimensions.

  Args:
    axes: The logical name of each of these dimensions; None to keep it whole.
    shape: Shape of the array.
    mesh: The mesh to place the array on. A mesh axis that does not divide a
      dimension evenly leaves that dimension whole.

  Raises:
    ValueError: If the table lacks a name; Flax itself would silently replicate
      the array.
  """
  known = {name for name, _ in LOGICAL_AXIS_RULES}
  if unknown := {axis for axis in axes if axis} - known:
    raise ValueError(f'Unknown logical axes {sorted(unknown)}.')
  mapped = nn.spmd.logical_to_mesh_axes(tuple(axes), LOGICAL_AXIS_RULES) or ()
  divided = [
      axis if shape[i] % _axis_size(mesh, axis) == 0 else None
      for i, axis in enumerate(mapped)
  ]
  return NamedSharding(mesh, PartitionSpec(*divided))


def _axis_size(mesh: jax.sharding.Mesh, axis: str | tuple | None) -> int:
  names = (axis,) if isinstance(axis, str) else axis or ()
  return math.prod(mesh.shape[name] for name in names)


def unbox(tree: PyTree) -> PyTree:
  """Removes the boxes that hold the logical axes of parameters.

  Unlike `nn.unbox`, it adds no sharding constraint, so it also accepts shapes.
  """
  return jax.tree.map(
      lambda x: x.value if isinstance(x, nn.LogicallyPartitioned) else x,
      tree,
      is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned),
  )


def batch_sharding(mesh: jax.sharding.Mesh) -> NamedSharding:
  """Splits the leading dimension of a batch over all data-parallel devices."""
  return NamedSharding(mesh, PartitionSpec(('data', 'fsdp')))


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
  """Gives every device a whole copy."""
  return NamedSharding(mesh, PartitionSpec())


def batch_parallelism(mesh: jax.sharding.Mesh | AbstractMesh) -> int:
  """Number of devices that a batch is split over."""
  return mesh.shape['data'] * mesh.shape['fsdp']


def check_batch(
    batch_size: int,
    mesh: jax.sharding.Mesh | AbstractMesh,
    *,
    pieces: int = 1,
) -> None:
  """Checks that a batch can be split evenly over the mesh.

  Args:
    batch_size: Examples of the batch.
    mesh: The mesh.
    pieces: Pieces that the batch is split into, each of which is split over the
      mesh.

  Raises:
    ValueError: If it cannot.
  """
  devices = batch_parallelism(mesh)
  if batch_size % (devices * pieces):
    times, change = '', ''
    if pieces > 1:
      times = f' times config.train.accumulate={pieces}'
      change = ' or --config.train.accumulate'
    raise ValueError(
        f'config.data.batch_size={batch_size} must be a multiple of {devices},'
        f' the number of devices along the mesh axes data and fsdp{times}.'
        f' Change --config.data.batch_size{change}.'
    )


def global_batch(
    batch: Mapping[str, np.ndarray], mesh: jax.sharding.Mesh
) -> Batch:
  """Joins the local batches of all processes into arrays over the mesh.

  Numbers of 64 bits become numbers of 32 bits, even if JAX_ENABLE_X64 is set.
  """
  sharding = batch_sharding(mesh)
  join = jax.make_array_from_process_local_data
  with jax.enable_x64(False):
    return {name: join(sharding, np.asarray(x)) for name, x in batch.items()}


def local_copy(array: jax.Array) -> np.ndarray:
  """A replicated array, read from the first device of this process."""
  return np.asarray(array.addressable_data(0))
