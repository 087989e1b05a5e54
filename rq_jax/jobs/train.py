"""Trains an experiment, and keeps its compiled programs on disk."""

from etils import epath
import jax

from rq_jax import compilation
from rq_jax.config import Experiment
from rq_jax.training import run


def train(config: Experiment, workdir: str | epath.Path) -> dict[str, float]:
  """Trains either stage, see `run.train`; a second start compiles nothing anew.

  Several processes must find the same programs, or some would compile while
  others wait. They share a folder only if the environment names one, see
  `compilation.keep`: the default folder may belong to one host.

  Args:
    config: A checked experiment.
    workdir: Folder of checkpoints and metrics.

  Returns:
    Metrics of the last evaluation.

  Raises:
    ValueError: As `run.train` and `compilation.keep` do.
  """
  compilation.keep(by_default=jax.process_count() == 1)
  return run.train(config, workdir)
