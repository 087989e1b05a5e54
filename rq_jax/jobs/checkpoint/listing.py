"""Lists the checkpoints of a folder as a table."""

import datetime

from etils import epath

from rq_jax import files
from rq_jax.checkpoints import steps
from rq_jax.distributed import console
from rq_jax.jobs.checkpoint import described
from rq_jax.reports import columns

_UNKNOWN = '-'


def run(path: epath.PathLike) -> None:
  """Prints a row for each checkpoint of a run's folder or inference copy.

  Raises:
    ValueError: If the folder holds no finished checkpoint.
  """
  found = described.read(path)
  is_copy = found.steps == [0]  # Runs save no step 0.
  kept = {} if is_copy else found.kept()
  metrics = [each.metric or '' for each in found.evaluations]
  rows = [('step', 'size', 'saved', 'devices', *metrics, 'kept as')]
  for step in found.steps:
    values = [each.of(step) for each in found.evaluations]
    rows.append(
        (
            str(step),
            files.readable(described.size(found.path, step)),
            _time(described.saved_at(found.path, step)),
            described.devices(found.path, step) or _UNKNOWN,
            *(_UNKNOWN if v is None else f'{v:.5g}' for v in values),
            ', '.join(kept.get(step, [])) or _UNKNOWN,
        )
    )
  for line in columns.aligned(rows):
    console.tell(line)
  for step in found.steps:
    if (why := steps.problem(found.path, step)) is not None:
      console.tell(f'Checkpoint {step} is damaged: {why}.')
  aside = found.path / 'damaged_checkpoints'
  if aside.exists():
    names = sorted(child.name for child in aside.iterdir())
    console.tell(f'{aside} holds damaged ones: {", ".join(names)}.')


def _time(seconds: float | None) -> str:
  if seconds is None:
    return _UNKNOWN
  when = datetime.datetime.fromtimestamp(seconds)
  return when.strftime('%Y-%m-%d %H:%M:%S')
