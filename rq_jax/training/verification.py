"""Finds devices that compute or keep wrong numbers.

A step is taken twice, from the same state and batch, by the same program. All
of its results must be equal, bit by bit. Arrays of which several devices hold
copies must be equal on all of them, before and after the step.

A number that changes in memory is found only if another device has a copy of
it, or if it changes between the two computations.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import numpy as np

from rq_jax.checkpoints import digests
from rq_jax.distributed import partitioning
from rq_jax.typing import PyTree


class WrongResultError(FloatingPointError):
  """A device computed or kept a wrong number; the message names the array."""


class _Hashes(NamedTuple):
  """Hashes of the part of each array that each device holds.

  Attributes:
    arrays: The arrays' names, shapes and shardings.
    values: uint32[devices, arrays, 2], in the order of `mesh.devices.flat`.
  """

  arrays: list[tuple[str, tuple[int, ...], NamedSharding]]
  values: jax.Array


def verified(
    take: Callable[[PyTree], PyTree],
    state: PyTree,
    *,
    step: int,
    mesh: jax.sharding.Mesh,
    before: int | None = None,
) -> PyTree:
  """Takes a step twice; returns its results once they are found to be equal.

  All processes must call it. They wait for the devices.

  Args:
    take: Takes the step: state -> results. It may donate the state.
    state: The state before the step; arrays on the mesh.
    step: Number of the step, for errors.
    mesh: Mesh of the devices.
    before: The step that was verified before, for errors; None if none was.

  Raises:
    WrongResultError: If two results or two copies differ.
  """
  start = _hashes(state, mesh)
  first = _hashes(take(_copy(state)), mesh)
  results = take(state)
  second = _hashes(results, mesh)
  found = (
      _different_copies(start, f'before step {step}', mesh)
      or _different_results(first, second, step, mesh)
      or _different_copies(second, f'after step {step}', mesh)
  )
  if found is not None:
    raise WrongResultError(f'{found} {_advice(step, before)}')
  return results


def _copy(state: PyTree) -> PyTree:
  """A copy in the same places: elsewhere, the step would be compiled anew."""
  leaves, structure = jax.tree.flatten(state)
  program = _copying_program(tuple(leaf.sharding for leaf in leaves))
  return jax.tree.unflatten(structure, program(leaves))


@functools.cache
def _copying_program(shardings: tuple[NamedSharding, ...]):
  return jax.jit(
      lambda leaves: [jnp.copy(leaf) for leaf in leaves],
      out_shardings=list(shardings),
  )


def _hashes(tree: PyTree, mesh: jax.sharding.Mesh) -> _Hashes:
  """Starts to hash what each device holds; does not wait for the devices."""
  leaves = jax.tree.leaves_with_path(tree)
  arrays = [(_name(path), leaf.shape, leaf.sharding) for path, leaf in leaves]
  specs = tuple(leaf.sharding.spec for _, leaf in leaves)
  program = _hashing_program(mesh, specs)
  return _Hashes(arrays, program(*(leaf for _, leaf in leaves)))


@functools.cache
def _hashing_program(
    mesh: jax.sharding.Mesh, specs: tuple[PartitionSpec, ...]
) -> Callable[..., jax.Array]:
  """The compiled function arrays -> uint32[devices, arrays, 2]."""

  def local(*parts):
    return jnp.stack(digests.of_arrays(parts))[None]

  hash_parts = jax.shard_map(
      local,
      mesh=mesh,
      in_specs=specs,
      out_specs=PartitionSpec(mesh.axis_names),
      check_vma=False,
  )
  return jax.jit(hash_parts, out_shardings=partitioning.replicated(mesh))


def _different_results(
    first: _Hashes, second: _Hashes, step: int, mesh: jax.sharding.Mesh
) -> str | None:
  """A sentence about results that differ; None if there are none."""
  differs = np.any(
      np.asarray(first.values) != np.asarray(second.values), axis=-1
  )  # [devices, arrays]
  if not differs.any():
    return None
  what = (
      f'Step {step} was computed twice from the same state and batch, and the'
      ' results differ'
  )
  return _named(what, second, differs, mesh)


def _different_copies(
    hashes: _Hashes, when: str, mesh: jax.sharding.Mesh
) -> str | None:
  """A sentence about copies that differ; None if there are none."""
  values = np.asarray(hashes.values)
  differs = np.zeros(values.shape[:2], bool)  # [devices, arrays]
  for i, (_, shape, sharding) in enumerate(hashes.arrays):
    for group in _copies(shape, sharding, mesh):
      found = [values[device, i].tobytes() for device in group]
      if len(set(found)) > 1:
        most = max(found.count(x) for x in found)
        # Of two copies, either may be wrong.
        doubtful = [found.count(x) < most or most == 1 for x in found]
        doubtful = doubtful if any(doubtful) else [True] * len(group)
        differs[group, i] = doubtful
  if not differs.any():
    return None
  return _named(f'Copies of one array differ {when}', hashes, differs, mesh)


@functools.cache
def _copies(
    shape: tuple[int, ...], sharding: NamedSharding, mesh: jax.sharding.Mesh
) -> list[list[int]]:
  """Groups of devices, by position in the mesh, that hold the same part."""
  position = {device: i for i, device in enumerate(mesh.devices.flat)}
  groups: dict[str, list[int]] = {}
  for device, part in sharding.devices_indices_map(shape).items():
    groups.setdefault(str(part), []).append(position[device])
  return [group for group in groups.values() if len(group) > 1]


def _named(
    what: str, hashes: _Hashes, differs: np.ndarray, mesh: jax.sharding.Mesh
) -> str:
  """Names the arrays and devices of what differs, bool[devices, arrays]."""
  wrong = np.flatnonzero(differs.any(axis=0)).tolist()
  names = [hashes.arrays[i][0] for i in wrong]
  more = f' and {len(names) - 1} more arrays' if len(names) > 1 else ''
  devices = [mesh.devices.flat[i] for i in np.flatnonzero(differs.any(axis=1))]
  shown = ', '.join(
      f'{d.device_kind} {d.id} of process {d.process_index}' for d in devices
  )
  return (
      f'{what}: {names[0]}{more}, on {shown}. A device or its memory may be'
      ' faulty.'
  )


def _advice(step: int, before: int | None) -> str:
  """Which checkpoints are sound, and how to resume from one of them."""
  resume = (
      'Run the same command again, without these devices, to resume from the'
      ' newest checkpoint'
  )
  if before == step - 1:
    sound = f'Step {before} was verified. {resume}.'
  elif before is None:
    sound = (
        'No earlier step was verified, so any checkpoint may hold wrong'
        f' numbers. {resume}, or start again in another --workdir.'
    )
  else:
    sound = (
        f'Step {before} was verified, and checkpoints of later steps may hold'
        ' wrong numbers: remove them with `checkpoint prune --step`.'
        f' {resume}.'
    )
  return f'No checkpoint contains step {step}. {sound}'


def _name(path: tuple[Any, ...]) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='/')
