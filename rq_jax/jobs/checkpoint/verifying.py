"""Reads all checkpoints of a folder, and names those that are damaged."""

from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp

from rq_jax import files
from rq_jax.checkpoints import steps
from rq_jax.checkpoints import stored
from rq_jax.distributed import console
from rq_jax.jobs.checkpoint import described


def run(path: epath.PathLike) -> None:
  """Verifies every checkpoint of a run's folder or inference copy.

  It needs memory for one checkpoint, on the host. A run may save meanwhile.

  Raises:
    ValueError: If a checkpoint or `config.json` is damaged. The message names
      all of them.
  """
  found = described.read(path)
  damaged, sound = {}, []
  for step in found.steps:
    size = files.readable(described.size(found.path, step))
    why = problem(found.path, step)
    if step not in steps.finished(found.path):
      console.tell(f'Step {step}: removed by its run meanwhile.')
    elif why is None:
      console.tell(f'Step {step}: sound, {size}.')
      sound.append(step)
    else:
      console.tell(f'Step {step}: DAMAGED, {why}.')
      damaged[step] = why
  if damaged:
    rest = f'Sound: {sound}.' if sound else 'None is sound.'
    raise ValueError(
        f'{len(damaged)} of {len(found.steps)} checkpoints of {found.path} are'
        f' damaged: {list(damaged)}. {rest} Remove damaged ones with'
        ' `checkpoint prune --step`, or restore them from a copy.'
    )
  if found.config is None and (found.path / 'config.json').exists():
    stored.read_config(found.path)  # Raises what is wrong with it.


def problem(path: epath.PathLike, step: int) -> str | None:
  """Returns why a checkpoint is damaged, or None; reads every array.

  Raises:
    Exception: If it cannot be read for another reason, such as memory.
  """
  try:
    tree = steps.described(path, step)
    arguments = jax.tree.map(
        lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree
    )
    ocp.PyTreeCheckpointer().restore(
        steps.folder(path) / str(step) / 'state', restore_args=arguments
    )
  except Exception as error:
    return steps.damage(error)
  return None
