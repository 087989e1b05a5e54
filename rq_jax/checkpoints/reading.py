"""Reads the arrays of checkpoints, and compares them with what was saved."""

from collections.abc import Iterator
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from rq_jax.checkpoints import manifests
from rq_jax.checkpoints import steps
from rq_jax.typing import PyTree

_READ_AT_ONCE = 2**29  # Bytes.


def read(
    path: epath.PathLike,
    step: int,
    target: PyTree,
    shardings: PyTree,
    manifest: manifests.Manifest | None,
    *,
    partial: bool = False,
) -> PyTree:
  """Reads arrays, which are not compared yet.

  Args:
    path: A run's folder, or an inference copy.
    step: Step of the checkpoint.
    target: Shapes and dtypes of the arrays.
    shardings: The same tree, with a sharding for each array.
    manifest: The manifest of the checkpoint. With it, the arrays keep the dtype
      that they were saved with, so that they can be compared.
    partial: Whether the checkpoint may have further arrays.
  """
  saved = manifest.arrays if manifest is not None else {}

  def restoring(keys, array, sharding):
    name = '.'.join(ocp.tree.str_keypath(keys))
    return ocp.ArrayRestoreArgs(
        sharding=sharding,
        global_shape=array.shape,
        dtype=jnp.dtype(saved[name].dtype if name in saved else array.dtype),
    )

  return _restore(
      steps.folder(path) / str(step) / 'state',
      ocp.args.PyTreeRestore(
          item=target,
          restore_args=jax.tree_util.tree_map_with_path(
              restoring, target, shardings
          ),
          partial_restore=partial,
      ),
  )


def cast(arrays: PyTree, target: PyTree) -> PyTree:
  """Arrays with the dtypes of `target`."""
  return jax.tree.map(lambda x, like: x.astype(like.dtype), arrays, target)


def verify(path: epath.PathLike, step: int) -> list[str]:
  """Reads all of a checkpoint, compares it with its manifest, lists problems.

  The arrays are read in parts of up to 0.5 GB, or of one array. Checkpoints of
  older versions have no manifest; of these, everything is read.

  Args:
    path: A run's folder, or an inference copy.
    step: Step of the checkpoint.

  Raises:
    Exception: If the checkpoint cannot be read for a reason other than damage.
  """
  problems = []
  try:
    found = steps.described(path, step)
    if found.manifest is not None:
      manifests.check_beside(found.manifest, path)
  except Exception as error:
    return [steps.damage(error)]
  for part in _parts(found.arrays):
    try:
      arrays = _read_some(path, step, found.arrays, part)
    except Exception as error:
      problems.append(f'{_named(part)}: {steps.damage(error)}')
      continue
    if found.manifest is not None:
      changed = manifests.changed_arrays(found.manifest, arrays)
      problems += [f'the array {name} has changed' for name in changed]
  return problems


def _parts(listed: PyTree) -> Iterator[set[str]]:
  """Splits the names of arrays into sets that fit into memory."""
  part, size = set(), 0
  for name, array in manifests.flat(listed).items():
    more = int(np.prod(array.shape)) * jnp.dtype(array.dtype).itemsize
    if part and size + more > _READ_AT_ONCE:
      yield part
      part, size = set(), 0
    part.add(name)
    size += more
  if part:
    yield part


def _named(part: set[str]) -> str:
  first = min(part)
  return first if len(part) == 1 else f'{first} or one of {len(part) - 1} more'


def _read_some(
    path: epath.PathLike, step: int, listed: PyTree, names: set[str]
) -> dict[str, Any]:
  """Arrays of these names, on the host."""

  def chosen(keys, array):
    name = '.'.join(ocp.tree.str_keypath(keys))
    return array if name in names else ocp.PLACEHOLDER

  item = jax.tree_util.tree_map_with_path(chosen, listed)
  restored = _restore(
      steps.folder(path) / str(step) / 'state',
      ocp.args.PyTreeRestore(
          item=item,
          restore_args=jax.tree.map(
              lambda _: ocp.RestoreArgs(restore_type=np.ndarray), item
          ),
      ),
  )
  return manifests.flat(restored)


def _restore(state: epath.Path, args: ocp.args.PyTreeRestore) -> PyTree:
  handler = ocp.PyTreeCheckpointHandler()
  try:
    return handler.restore(state, args=args)
  finally:
    handler.close()
