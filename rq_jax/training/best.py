"""The evaluations that decide which checkpoint of a run is the best."""

from etils import epath

from rq_jax.checkpoints import retention
from rq_jax.config import Experiment
from rq_jax.config import retention_rules
from rq_jax.training import metrics


def evaluations(
    config: Experiment, workdir: epath.PathLike
) -> retention.Evaluations:
  """The values of `train.keep_best` that a run has logged so far, if it is set.

  Args:
    config: A checked experiment.
    workdir: Folder of the run.
  """
  metric = config.train.keep_best
  if metric is None:
    return retention.Evaluations(None)
  return retention.Evaluations(
      metric,
      higher=retention_rules.evaluated(config)[metric],
      lines=metrics.read_metrics(workdir),
  )
