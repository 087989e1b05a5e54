"""Evaluates the state of a run on held-out examples."""

from collections.abc import Callable
import contextlib
import functools
from typing import Any

import jax
import numpy as np

from rq_jax import compiler_options
from rq_jax.config import Experiment
from rq_jax.data import sources
from rq_jax.distributed import partitioning
from rq_jax.training import batches as batches_lib
from rq_jax.training import skipped as skipped_lib
from rq_jax.training import stages
from rq_jax.typing import PyTree


class Evaluator:
  """The compiled evaluation of a run; all processes must take part.

  Attributes:
    count: Number of examples that are evaluated.
  """

  def __init__(
      self,
      stage: stages.Stage,
      task: Any,
      config: Experiment,
      test: sources.Source,
      *,
      skipped: skipped_lib.Skipped,
      mesh: jax.sharding.Mesh,
  ):
    """Prepares the evaluation; it is compiled when it is first used.

    Args:
      stage: The functions of the stage.
      task: The first argument of the functions of `stage`.
      config: The checked experiment.
      test: The examples; at most `train.eval_images` are evaluated.
      skipped: Counts of examples that cannot be read.
      mesh: Mesh of the devices that hold the state.
    """
    self._stage, self._task, self._config = stage, task, config
    self._test, self._skipped, self._mesh = test, skipped, mesh
    self.count = min(config.train.eval_images, len(test))
    replicated: Callable[..., Any] = functools.partial(
        compiler_options.Jitted,
        options=compiler_options.convolutions,
        out_shardings=partitioning.replicated(mesh),
    )
    self._eval_fn = replicated(stage.eval_step)
    self._preview_fn = replicated(stage.preview)

  def __call__(
      self, state: PyTree
  ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Returns metrics, and rows of images by name: uint8[R, C, Y, X, 3]."""
    sums, rows, counts = None, {}, {}
    batches = batches_lib.held_out(self._test, self._config, count=self.count)
    with contextlib.closing(batches):
      for batch in batches:
        batch = partitioning.global_batch(batch, self._mesh)
        batch, counts = self._skipped.summed(batch)
        rows = rows or self._preview_fn(self._task, state, batch)
        new = self._eval_fn(self._task, state, batch) | counts
        sums = new if sums is None else jax.tree.map(jax.numpy.add, sums, new)
    sums = jax.tree.map(lambda x: np.asarray(x, np.float64), sums)
    summary = self._stage.summarize(self._task, sums)
    summary |= self._stage.judge(state) | {n: sums[n] for n in counts}
    results = {f'eval/{name}': float(x) for name, x in summary.items()}
    # Copies pad a first batch that is not full; they are not shown.
    shown = {name: np.asarray(r)[:, : self.count] for name, r in rows.items()}
    return results, shown
