"""The training loop: restore or initialise, step, log, evaluate, save.

The loop is the same for both stages. It calls the functions of a
`stages.Stage`.
"""

from collections.abc import Mapping
import contextlib
import time
from typing import Any

from etils import epath
import jax
import numpy as np
import tqdm

from rq_jax.checkpoints import runs
from rq_jax.config import Experiment
from rq_jax.data import batching
from rq_jax.data import loader
from rq_jax.distributed import console
from rq_jax.distributed import interrupts
from rq_jax.distributed import partitioning
from rq_jax.distributed import progress
from rq_jax.training import advice
from rq_jax.training import batches as batches_lib
from rq_jax.training import best
from rq_jax.training import evaluating
from rq_jax.training import metrics as metrics_lib
from rq_jax.training import nonfinite
from rq_jax.training import profiling
from rq_jax.training import saving
from rq_jax.training import skipped
from rq_jax.training import stages
from rq_jax.training import start
from rq_jax.training import stepping
from rq_jax.training import time_accounts
from rq_jax.training import update
from rq_jax.training import watchdog
from rq_jax.training import workdir as workdir_lib


def run(
    stage: stages.Stage,
    task: Any,
    config: Experiment,
    mesh: jax.sharding.Mesh,
    workdir: epath.PathLike,
    *,
    splits: stages.Splits,
    total_steps: int,
    held: workdir_lib.Workdir | None = None,
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
    held: The same folder, if it is locked. Before each save, the run makes sure
      that it still exists and belongs to this program.
    accounts: Accounts of the time of the run.
    profile: Number of steps to record a trace of.

  Returns:
    Metrics of the last evaluation.

  Raises:
    interrupts.Interrupted: If a signal asks the run to stop after its first
      step; a checkpoint is saved before. Until the first step there is nothing
      to save, and signals keep the handlers they had.
    OSError: If a checkpoint could not be saved, see `train.on_save_error`.
    ValueError: If an image cannot be read, or more than `data.max_errors`; a
      `locks.LostError` if another program has taken the folder.
    FloatingPointError: If more than `train.max_skipped` steps in a row were not
      finite. They are not applied, and no checkpoint contains them. A
      `verification.WrongResultError` if a device computed a wrong number.
  """
  with (
      # Outermost, to keep signal handlers until the last checkpoint is on disk.
      contextlib.ExitStack() as signals,
      partitioning.activate(mesh),
      runs.Checkpoints(
          workdir,
          keep=config.train.keep_checkpoints,
          every=config.train.keep_every,
          evaluations=best.evaluations(config, workdir),
      ) as checkpoints,
  ):
    saver = saving.Saver(
        checkpoints, on_error=config.train.on_save_error, held=held
    )
    return _Run(
        stage, task, config, mesh, workdir, splits, total_steps, saver, accounts
    ).train(signals, profile)


class _Run:
  """The steps of a run that this process takes."""

  def __init__(
      self, stage, task, config, mesh, workdir, splits, total_steps, saver,
      accounts,
  ):  # fmt: skip
    self._stage, self._config, self._mesh = stage, config, mesh
    self._workdir, self._total = workdir, total_steps
    self._splits, self._saver, self._accounts = splits, saver, accounts
    new = saver.checkpoints.latest_step() is None
    with accounts.kind('start' if new else 'restore'):
      self._state, shardings, meta = start.open_state(
          stage,
          task,
          config,
          mesh=mesh,
          checkpoints=saver.checkpoints,
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
    self._writer = metrics_lib.MetricWriter(
        workdir,
        start_step=self._first_step,
        finished=self._first_step >= total_steps,
        accounts=accounts,
    )
    self._stepper = stepping.Stepper(
        stage.train_step,
        task,
        config.train,
        mesh=mesh,
        shardings=shardings,
        meta=meta,
    )
    self._evaluator = evaluating.Evaluator(
        stage, task, config, splits.test, skipped=self._skipped, mesh=mesh
    )
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
        folder=epath.Path(self._workdir) / 'profile',
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
          contextlib.closing(self._open_batches()) as batches,
          contextlib.closing(steps),
          watchdog.Watchdog(train.log_steps) as watch,
      ):
        self._accounts.switch('step')
        for step in steps:
          watch.begin()
          first = signals is None
          metrics = self._take(step, batches, first=first)
          if first:  # Rates and the time left do not count the compilation.
            bar.unpause()
            self._logged = (self._first_step, time.perf_counter())
          signals = signals or held.enter_context(interrupts.Interrupts())
          bar.update()
          last = step == self._total
          if step % train.log_steps == 0 or last:
            self._log(step, metrics, bar)
          watch.end()
          if step % train.eval_steps == 0 and not last:
            self._evaluate(step)
          stopping = signals.requested(step)
          if step % train.checkpoint_steps == 0 or last or stopping:
            self._save(step, bar, final=last or stopping)
          if stopping and not last:
            raise interrupts.Interrupted(f'saved at step {step}')
        results = self._evaluate(max(self._first_step, self._total))
    finally:
      self._accounts.switch('save')  # Leaving waits for the last checkpoint.
    return results

  def _open_batches(self) -> batching.Batches:
    train, step = self._splits.train, self._first_step
    return batches_lib.training(train, self._config, step=step)

  def _take(self, step: int, batches: batching.Batches, *, first: bool):
    """Takes a step; returns its metrics."""
    with self._accounts.kind('input'):
      batch = partitioning.global_batch(next(batches), self._mesh)
    batch, counts = self._skipped.counted(step, batch)
    with (
        console.compiling('the training step', first=first),
        self._accounts.kind('compile' if first else 'step'),
    ):
      self._state, metrics = self._stepper.take(step, self._state, batch)
    return metrics | counts

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
    failed, steps = int(self._state.failed_step), self._stepper.skipped
    if steps is not None:
      steps.tell()
    if failed == update.NO_STEP:
      return
    raise nonfinite.failure(
        self._state,
        workdir=self._workdir,
        saved=self._saver.checkpoints.steps(),
        init_from=self._config.init_from,
        mesh=self._mesh,
        examples=batches_lib.indices(
            self._splits.train, self._config, step=failed
        ),
        skipped=0 if steps is None else steps.in_a_row,
    )

  def _save(self, step: int, bar: tqdm.tqdm, *, final: bool) -> None:
    # A resumed run does not repeat this step, so write its metrics now.
    self._flush(bar)
    self._check_finite()
    self._skipped.check()
    meta = {'step': step, **start.position(self._splits.train)}
    meta |= self._skipped.meta() | self._stepper.meta()
    before = self._saver.failures
    with self._accounts.kind('save'):
      self._saver.save(step, self._state, meta, final=final)
    failed = self._saver.failures > before
    # Even without metrics, so that the time until here is not lost.
    self._writer.write(
        step, {saving.METRIC: self._saver.failures} if failed else {}
    )

  def _evaluate(self, step: int) -> dict[str, float]:
    """Evaluates on held-out examples; writes metrics and pictures."""
    console.tell(f'Evaluating after step {step} ...')
    jax.block_until_ready(self._state)  # It is the time of steps.
    with self._accounts.kind('evaluation'):
      results = self._evaluated(step)
    self._saver.checkpoints.evaluations.add(step, results)
    return results

  def _evaluated(self, step: int) -> dict[str, float]:
    results, rows = self._evaluator(self._state)
    self._writer.write(step, results)
    recent = self._advice.recent()
    count = self._evaluator.count
    self._advice.tell(self._stage.advise(self._config, recent, results, count))
    self._writer.write_images(step, rows)
    return results
