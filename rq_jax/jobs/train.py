"""Trains an experiment, and keeps its compiled programs on disk."""

from typing import Any

from etils import epath
import jax

from rq_jax import compilation
from rq_jax.config import Experiment
from rq_jax.training import run


def train(
    config: Experiment, workdir: epath.PathLike, **watching: Any
) -> dict[str, float]:
  """Trains either stage, and keeps compiled programs for the next start.

  Several processes must find the same programs, or some would compile while
  others wait. They share a folder only if the environment names one, see
  `compilation.keep`: the default folder may belong to one host.

  Arguments, result and errors are those of `run.train`. `compilation.keep` also
  raises a ValueError.
  """
  compilation.keep(by_default=jax.process_count() == 1)
  return run.train(config, workdir, **watching)
