"""Reads all checkpoints of a folder, and names those that are damaged."""

from etils import epath

from rq_jax import files
from rq_jax.checkpoints import reading
from rq_jax.checkpoints import steps
from rq_jax.checkpoints import stored
from rq_jax.distributed import console
from rq_jax.jobs.checkpoint import described


def run(path: epath.PathLike) -> None:
  """Verifies every checkpoint of a run's folder or inference copy.

  Arrays are compared with the manifests that were saved with them, see
  `checkpoints.manifests`. A run may save meanwhile.

  Raises:
    ValueError: If a checkpoint or `config.json` is damaged. The message names
      all of them.
  """
  found = described.read(path)
  if found.config is None and (found.path / 'config.json').exists():
    stored.read_config(found.path)  # Raises what is wrong with it.
  damaged, sound = [], []
  for step in found.steps:
    size = files.readable(described.size(found.path, step))
    problems = reading.verify(found.path, step)
    if step not in steps.finished(found.path):
      console.tell(f'Step {step}: removed by its run meanwhile.')
    elif not problems:
      console.tell(f'Step {step}: sound, {size}.')
      sound.append(step)
    else:
      console.tell(f'Step {step}: DAMAGED: {"; ".join(problems)}.')
      damaged.append(step)
  if damaged:
    rest = f'Sound: {sound}.' if sound else 'None is sound.'
    raise ValueError(
        f'{len(damaged)} of {len(found.steps)} checkpoints of {found.path} are'
        f' damaged: {damaged}. {rest} The lines above say what has changed.'
        ' Restore it from a copy, or remove these steps with `checkpoint prune'
        ' --step`.'
    )
