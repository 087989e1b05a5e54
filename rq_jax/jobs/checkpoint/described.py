"""Facts about the checkpoints of a folder, without reading their arrays."""

import contextlib
import dataclasses
import json
import math
from typing import Any

from etils import epath

from rq_jax import files
from rq_jax.checkpoints import retention
from rq_jax.checkpoints import steps
from rq_jax.checkpoints import stored
from rq_jax.config import Experiment
from rq_jax.config import retention_rules
from rq_jax.training import metrics

# The value that shows best how far a stage has come.
_MAIN = {1: 'eval/mse', 2: 'eval/loss'}
_SETS = ('eval/rfid', 'eval/fid')  # Of reconstructions, and of samples.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Described:
  """The checkpoints of a run's folder, or of an inference copy.

  Attributes:
    path: The folder.
    steps: Steps of the finished checkpoints, in order.
    config: The experiment; None if the folder has none that can be read.
    evaluations: Values of the main metrics of the run, without empty ones.
  """

  path: epath.Path
  steps: list[int]
  config: Experiment | None
  evaluations: list[retention.Evaluations]

  def kept(
      self, *, newest: int | None = None, every: int | None = None
  ) -> dict[int, list[str]]:
    """The steps that the run keeps, with reasons; see `retention.kept`.

    Args:
      newest: How many of the newest are kept; None for as many as the run does.
      every: Which multiples are kept; None for those that the run keeps.
    """
    train = self.config.train if self.config else None
    if newest is None:
      newest = train.keep_checkpoints if train else 1
    if every is None:
      every = train.keep_every if train else 0
    metric = train.keep_best if train else None
    best = [each for each in self.evaluations if each.metric == metric]
    return retention.kept(
        self.steps,
        newest=newest,
        every=every,
        evaluations=best[0] if best else None,
    )


def read(path: epath.PathLike) -> Described:
  """Describes the checkpoints of a folder.

  Args:
    path: A run's folder, or an inference copy.

  Raises:
    ValueError: If the folder holds no finished checkpoint.
  """
  folder = epath.Path(files.path(path, 'WORKDIR'))
  found = steps.finished(folder)
  if not found:
    raise ValueError(
        f'{folder} holds no complete checkpoint. Give the --workdir of a run,'
        ' or an inference copy.'
    )
  config = None
  with contextlib.suppress(ValueError):  # `verify` reports it.
    config = stored.read_config(folder)
  return Described(
      path=folder,
      steps=found,
      config=config,
      evaluations=_evaluations(folder, config) if config else [],
  )


def _evaluations(
    folder: epath.Path, config: Experiment
) -> list[retention.Evaluations]:
  lines = metrics.read_metrics(folder)
  higher = retention_rules.evaluated(config)
  names = [_MAIN[config.stage], *_SETS, config.train.keep_best]
  every = [
      retention.Evaluations(name, higher=higher[name], lines=lines)
      for name in dict.fromkeys(names)
      if name in higher
  ]
  newest = steps.finished(folder)[-1]
  return [each for each in every if each.of(newest) is not None]


def size(path: epath.PathLike, step: int) -> int:
  """Bytes of the files of a checkpoint; 0 if its run removes it meanwhile."""
  with contextlib.suppress(FileNotFoundError):
    return _bytes(steps.folder(path) / str(step))
  return 0


def saved_at(path: epath.PathLike, step: int) -> float | None:
  """When a checkpoint was finished, in seconds since 1970; None if unknown."""
  file = steps.folder(path) / str(step) / '_CHECKPOINT_METADATA'
  with contextlib.suppress(OSError, ValueError, TypeError):
    return files.read_json_object(file)['commit_timestamp_nsecs'] / 1e9
  return None


def devices(path: epath.PathLike, step: int) -> str | None:
  """The mesh that saved a checkpoint, such as 'data 4, fsdp 2'.

  It is '1 device' for a single one, and None if it is not known.
  """
  file = steps.folder(path) / str(step) / 'state' / '_sharding'
  try:
    shardings = [json.loads(s) for s in files.read_json_object(file).values()]
  except (OSError, ValueError, TypeError):
    return None
  for each in shardings:
    if isinstance(each, dict) and {'shape', 'axis_names'} <= each.keys():
      return _mesh(dict(zip(each['axis_names'], each['shape'])))
  return None


def _bytes(folder: epath.Path) -> int:
  return sum(
      _bytes(child) if child.is_dir() else child.stat().length
      for child in folder.iterdir()
  )


def _mesh(sizes: dict[str, Any]) -> str:
  if math.prod(sizes.values()) == 1:
    return '1 device'
  return ', '.join(f'{axis} {n}' for axis, n in sizes.items() if n > 1)
