"""Trains an experiment: from a checked configuration to a trained model."""

import contextlib
import dataclasses
from typing import Any

from etils import epath

from rq_jax import config as config_lib
from rq_jax.checkpoints import class_names
from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import stored
from rq_jax.config import Experiment
from rq_jax.config import RQTransformerExperiment
from rq_jax.config import RQVAEExperiment
from rq_jax.config import sizes
from rq_jax.config import source_table
from rq_jax.data import broken_examples
from rq_jax.data import sources
from rq_jax.data.sources import features
from rq_jax.distributed import console
from rq_jax.distributed import partitioning
from rq_jax.distributed import processes
from rq_jax.models import build
from rq_jax.tokenizer import Tokenizer
from rq_jax.training import advice
from rq_jax.training import loop
from rq_jax.training import stage1
from rq_jax.training import stage2
from rq_jax.training import stages
from rq_jax.training import start
from rq_jax.training import temperature
from rq_jax.training import time_accounts
from rq_jax.training import workdir as workdir_lib
from rq_jax.training.stage1 import evaluation as stage1_evaluation
from rq_jax.training.stage1 import rfid
from rq_jax.training.stage2 import evaluation as stage2_evaluation
from rq_jax.training.stage2 import samples

STAGES = {
    1: stages.Stage(
        init_state=stage1.init_state,
        train_step=stage1.train_step,
        eval_step=stage1_evaluation.eval_step,
        summarize=stage1_evaluation.summarize,
        advise=stage1_evaluation.advise,
        preview=stage1_evaluation.preview,
        weights=('params', 'codebook', 'disc_params', 'disc_stats'),
    ),
    2: stages.Stage(
        init_state=stage2.init_state,
        train_step=stage2.train_step,
        eval_step=stage2_evaluation.eval_step,
        summarize=stage2_evaluation.summarize,
        advise=stage2_evaluation.advise,
        preview=stage2_evaluation.preview,
        weights=('params',),
    ),
}


def train(
    config: Experiment,
    workdir: epath.PathLike,
    *,
    profile: int = 0,
    started: float | None = None,
) -> dict[str, float]:
  """Trains the stage that `config` describes, or resumes its training.

  Args:
    config: A checked experiment.
    workdir: Folder of checkpoints and metrics.
    profile: Number of steps to record a trace of, after the first one.
    started: When the program started, in seconds since 1970, to account for its
      time; None for now.

  Returns:
    Metrics of the last evaluation.

  Raises:
    ValueError: If anything that the experiment names is missing or does not
      fit, or if another program trains in this folder. It is raised before any
      array is allocated.
    OSError: If a file cannot be saved; a `DiskFullError` if the disk is full.
      With `train.on_save_error=continue`, only if it is the last checkpoint.
    interrupts.Interrupted: If a signal asks the run to stop; a checkpoint is
      saved before.
    FloatingPointError: If too many steps were not finite, or a device computed
      a wrong number.
  """
  with time_accounts.Accounts(started=started) as accounts:
    return _train(config, workdir, accounts=accounts, profile=profile)


def _train(
    config: Experiment, workdir: epath.PathLike, **watching: Any
) -> dict[str, float]:
  mesh = partitioning.make_mesh(vars(config.mesh))
  partitioning.check_batch(
      config.data.batch_size, mesh, pieces=config.train.accumulate
  )
  start.check_weights(config, workdir)
  config = workdir_lib.with_stored(workdir, config)
  splits = _open_splits(config)
  classes = splits.train.class_names
  total_steps = config_lib.total_steps(config, len(splits.train))
  with workdir_lib.Workdir(workdir) as held, _advising(config):
    if isinstance(config, RQVAEExperiment):
      task = stage1.build(config, mesh, total_steps=total_steps)
      judge = rfid.judge(task, config, mesh, splits.test)
      held.prepare(config, classes)
    else:
      source = config.tokenizer
      assert source is not None  # `config.check` requires it.
      _check_description(config, source, is_new=not held.has_run)
      tokenizer = Tokenizer.restore(source)
      if _reads_features(config):
        features.check_fingerprint(config.data.path, tokenizer.fingerprint)
      own = held.folder / 'tokenizer'
      _check_tokenizer(own, tokenizer)
      config = temperature.settle(config, tokenizer, splits.train, held.folder)
      task = stage2.build(
          config, mesh, total_steps=total_steps, tokenizer=tokenizer
      )
      judge = samples.judge(task, config, mesh)
      held.prepare(config, classes)
      _keep_tokenizer(own, source, tokenizer)
    return loop.run(
        dataclasses.replace(STAGES[config.stage], judge=judge),
        task,
        config,
        mesh,
        held.folder,
        splits=splits,
        total_steps=total_steps,
        held=held,
        **watching,
    )


def _open_splits(config: Experiment) -> stages.Splits:
  """Opens both splits, and prints what may surprise about them."""
  splits = stages.Splits(
      train=sources.open_source(config.data, 'train'),
      test=sources.open_source(config.data, 'test'),
  )
  for remark in sources.remarks(splits.train):
    console.tell(remark)
  advice.tell(advice.batch(len(splits.train), config.data.batch_size))
  if isinstance(config, RQTransformerExperiment):
    untrained = sources.check_classes(
        config.model.num_classes, **splits._asdict()
    )
    if untrained:
      console.tell(untrained)
  return splits


def _check_description(
    config: RQTransformerExperiment, source: str, *, is_new: bool
) -> None:
  """Refuses a tokenizer of other codes or images, before it is restored."""
  described = stored.read_rqvae(source)
  build.check_pair(config.model, build.rqvae(described))
  # Older versions began runs on features with any size, which has no effect.
  if is_new or not _reads_features(config):
    sizes.check_encodable(config.data.image_size, described.image_size)


def _reads_features(config: Experiment) -> bool:
  return 'features' in source_table.SOURCES[config.data.source].provides


def _advising(config: Experiment) -> contextlib.AbstractContextManager[None]:
  """Adds to the error of a broken image how to train without it."""
  if config.data.on_error == 'skip':
    return contextlib.nullcontext()
  return broken_examples.advising(
      'To train without such images, set --config.data.on_error=skip and run'
      ' the same command again.'
  )


def _check_tokenizer(path: epath.Path, tokenizer: Tokenizer) -> None:
  """Refuses to resume a run with another tokenizer than its own."""

  def check():
    if path.exists():
      inference_copy.check_fingerprint(path, tokenizer.fingerprint)

  processes.only_first(check)


def _keep_tokenizer(
    path: epath.Path, source: str, tokenizer: Tokenizer
) -> None:
  """Writes an inference copy of the tokenizer into the run's folder."""

  def keep():
    if not path.exists():
      config = stored.read_config(source, stage=1)
      inference_copy.export(
          path,
          config,
          tokenizer.variables,
          classes=class_names.read(source),
      )

  processes.only_first(keep)
