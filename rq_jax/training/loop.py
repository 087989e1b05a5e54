"""The training loop: restore or initialise, step, log, evaluate, save.

The loop is the same for both stages. It calls the functions of a
`stages.Stage`.
"""

from collections.abc import Mapping
import contextlib
import functools
import time
from typing import Any

from etils import epath
import jax
import numpy as np
import tqdm

from rq_jax.checkpoints import runs
from rq_jax.config import Experiment
from rq_jax.data import loader
from rq_jax.distributed import console
from rq_jax.distributed import interrupts
from rq_jax.distributed import partitioning
from rq_jax.distributed import progress
from rq_jax.training import advice
from rq_jax.training import best
from rq_jax.training import metrics as metrics_lib
from rq_jax.training import nonfinite
from rq_jax.training import profiling
from rq_jax.training import skipped
from rq_jax.training import stages
from rq_jax.training import start
from rq_jax.training import time_accounts
from rq_jax.training import update


def run(
    stage: stages.Stage,
    task: Any,
    config: Experiment,
    mesh: jax.sharding.Mesh,
    workdir: epath.PathLike,
    *,
    splits: stages.Splits,
    total_steps: int,
    accounts: time_accounts.Accounts,
    profile: int = 0,
) -> dict[str, float]:
  """Trains to the last step, from the newest checkpoint if there is one.

  Args:
    stage: The functions of the stage.
    task: Everything that stays fixed over the run, from the stage's `build`.
    config: The checked experiment.
    mesh: Mesh of the devices to train on.
    workdir: Folder of checkpoints and metrics, see `workdir.Workdir`.
    splits: The data.
    total_steps: Length of the run, in steps.
    accounts: Accounts of the time of the run.
    profile: Number of steps to record a trace of.

  Returns:
    Metrics of the last evaluation.

  Raises:
    interrupts.Interrupted: If a signal asks the run to stop after its first
      step; a checkpoint is saved before. Until the first step there is nothing
      to save, and signals keep the handlers they had.
    OSError: If a checkpoint could not be saved.
    ValueError: If an image cannot be read, or more than `data.max_errors`.
    FloatingPointError: If a step was not finite. That step is not applied, and
      no checkpoint contains it.
  """
  with (
      # Outermost, to keep signal handlers until the last checkpoint is on disk.
      contextlib.ExitStack() as held,
      partitioning.activate(mesh),
      runs.Checkpoints(
          workdir,
          keep=config.train.keep_checkpoints,
          every=config.train.keep_every,
          evaluations=best.evaluations(config, workdir),
      ) as checkpoints,
  ):
    return _Run(
        stage, task, config, mesh, workdir, splits, total_steps, checkpoints,
        accounts,
    ).train(held, profile)  # fmt: skip


class _Run:
  """The steps of a run that this process takes."""

  def __init__(
      self, stage, task, config, mesh, workdir, splits, total_steps,
      checkpoints, accounts,
  ):  # fmt: skip
    self._stage, self._task, self._config = stage, task, config
    self._mesh, self._workdir, self._total = mesh, workdir, total_steps
    self._splits, self._checkpoints = splits, checkpoints
    self._accounts = accounts
    new = checkpoints.latest_step() is None
    with accounts.kind('start' if new else 'restore'):
      self._state, self._shardings, meta = start.open_state(
          stage,
          task,
          config,
          mesh=mesh,
          checkpoints=checkpoints,
          train=splits.train,
      )
    self._first_step = int(self._state.step)
    self._skipped = skipped.Skipped(
        limit=loader.error_limit(config.data),
        num_examples=len(splits.train),
        batch_size=config.data.batch_size,
        mesh=mesh,
        meta=meta,
    )
    self._saved_step = checkpoints.latest_step()
    self._writer = metrics_lib.MetricWriter(
        workdir,
        start_step=self._first_step,
        finished=self._first_step >= total_steps,
        accounts=accounts,
    )
    self._step_fn = jax.jit(
        stage.train_step,
        donate_argnums=1,
        out_shardings=(self._shardings, partitioning.replicated(mesh)),
    )
    replicated = functools.partial(
        jax.jit, out_shardings=partitioning.replicated(mesh)
    )
    self._eval_fn = replicated(stage.eval_step)
    self._preview_fn = replicated(stage.preview)
    # Metrics that are still on the devices. They are logged when the next ones
    # are due, so that no step waits for them.
    self._pending: tuple[int, Mapping[str, jax.Array], float] | None = None
    self._logged = (self._first_step, time.perf_counter())
    self._advice = advice.Advice()

  def train(self, held: contextlib.ExitStack, profile: int) -> dict[str, float]:
    """Takes all remaining steps; evaluates and saves when due and at the end.

    Args:
      held: Stack that holds the writer, and the signal handlers from the first
        step on.
      profile: Number of steps to record a trace of.
    """
    train, results, signals = self._config.train, None, None
    held.enter_context(self._writer)
    steps = profiling.traced(
        range(self._first_step + 1, self._total + 1),
        count=profile,
        folder=self._workdir / 'profile',
        wait=lambda: jax.block_until_ready(self._state),
    )
    if self._first_step:
      console.tell(f'Resuming after step {self._first_step} of {self._total}.')
    bar = progress.bar(
        total=self._total,
        initial=self._first_step,
        unit='step',
        disable=jax.process_index() > 0,
    )
    try:
      with (
          bar,
          contextlib.closing(self._open_batches(self._first_step)) as batches,
          contextlib.closing(steps),
      ):
        self._accounts.switch('step')
        for step in steps:
          with self._accounts.kind('input'):
            batch = partitioning.global_batch(next(batches), self._mesh)
          batch, counts = self._skipped.counted(step, batch)
          first = signals is None
          with (
              console.compiling('the training step', first=first),
              self._accounts.kind('compile' if first else 'step'),
          ):
            self._state, metrics = self._step_fn(self._task, self._state, batch)
          if first:  # Rates and the time left do not count the compilation.
            bar.unpause()
            self._logged = (self._first_step, time.perf_counter())
          signals = signals or held.enter_context(interrupts.Interrupts())
          bar.update()
          last = step == self._total
          if step % train.log_steps == 0 or last:
            self._log(step, metrics | counts, bar)
          if step % train.eval_steps == 0 and not last:
            self._evaluate(step)
          stopping = signals.requested(step)
          if step % train.checkpoint_steps == 0 or last or stopping:
            self._save(step, bar)
          if stopping and not last:
            raise interrupts.Interrupted(f'saved at step {step}')
        results = self._evaluate(max(self._first_step, self._total))
    finally:
      self._accounts.switch('save')  # Leaving waits for the last checkpoint.
    return results

  def _open_batches(self, step: int):
    return loader.train_batches(
        self._splits.train,
        seed=self._config.seed,
        step=step,
        workers=self._config.data.workers,
        **self._reading(train=True),
    )

  def _reading(self, *, train: bool) -> dict[str, Any]:
    """Arguments that the loader takes for both splits."""
    data = self._config.data
    return dict(
        transform=loader.image_transform(data, train=train),
        batch_size=data.batch_size,
        max_errors=loader.error_limit(data),
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )

  def _log(self, step: int, metrics, bar: tqdm.tqdm) -> None:
    self._flush(bar)
    before, since = self._logged
    self._logged = (step, time.perf_counter())
    images = (step - before) * self._config.data.batch_size
    self._pending = (step, metrics, images / (self._logged[1] - since))

  def _flush(self, bar: tqdm.tqdm) -> None:
    """Writes the pending metrics."""
    if self._pending is None:
      return
    (step, metrics, rate), self._pending = self._pending, None
    values = {n: float(np.asarray(value)) for n, value in metrics.items()}
    self._check_finite()
    named = {n if '/' in n else f'train/{n}': v for n, v in values.items()}
    self._advice.add(named)
    self._writer.write(step, named | {'speed/images_per_second': rate})
    bar.set_postfix_str(f'loss {values["loss"]:.4f}, {rate:.0f} images/s')
    self._skipped.check()

  def _check_finite(self) -> None:
    if int(self._state.failed_step) != update.NO_STEP:
      raise nonfinite.failure(
          self._state,
          workdir=self._workdir,
          saved=self._checkpoints.steps(),
          init_from=self._config.init_from,
          mesh=self._mesh,
      )

  def _save(self, step: int, bar: tqdm.tqdm) -> None:
    # A resumed run does not repeat this step, so write its metrics now.
    self._flush(bar)
    self._check_finite()
    self._skipped.check()
    if step == self._saved_step:
      return
    meta = {'step': step, **start.position(self._splits.train)}
    meta |= self._skipped.meta()
    with self._accounts.kind('save'):
      self._checkpoints.save(step, self._state, meta)
    self._saved_step = step
    self._writer.write(step, {})  # So that the time until here is not lost.

  def _evaluate(self, step: int) -> dict[str, float]:
    """Evaluates on held-out examples; writes metrics and pictures."""
    console.tell(f'Evaluating after step {step} ...')
    jax.block_until_ready(self._state)  # It is the time of steps.
    with self._accounts.kind('evaluation'):
      results = self._evaluated(step)
    self._checkpoints.evaluations.add(step, results)
    return results

  def _evaluated(self, step: int) -> dict[str, float]:
    count = min(self._config.train.eval_images, len(self._splits.test))
    sums, rows, counts = None, {}, {}
    batches = loader.eval_batches(
        self._splits.test, count=count, **self._reading(train=False)
    )
    with contextlib.closing(batches):
      for batch in batches:
        batch = partitioning.global_batch(batch, self._mesh)
        batch, counts = self._skipped.summed(batch)
        rows = rows or self._preview_fn(self._task, self._state, batch)
        new = self._eval_fn(self._task, self._state, batch) | counts
        sums = new if sums is None else jax.tree.map(jax.numpy.add, sums, new)
    sums = jax.tree.map(lambda x: np.asarray(x, np.float64), sums)
    summary = self._stage.summarize(self._task, sums)
    summary |= self._stage.judge(self._state) | {n: sums[n] for n in counts}
    results = {f'eval/{name}': float(x) for name, x in summary.items()}
    self._writer.write(step, results)
    recent = self._advice.recent()
    self._advice.tell(self._stage.advise(self._config, recent, results, count))
    # Copies pad a first batch that is not full; they are not shown.
    shown = {name: np.asarray(row)[:, :count] for name, row in rows.items()}
    self._writer.write_images(step, shown)
    return results
