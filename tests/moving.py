"""Continues a run on another mesh or in other processes, for one step."""

import hashlib
import shutil

import jax
import numpy as np

from rq_jax.checkpoints import runs
from rq_jax.distributed import partitioning
from rq_jax.tokenizer import Tokenizer
from rq_jax.training import loop
from rq_jax.training import run
from rq_jax.training import stage1
from rq_jax.training import stage2
from rq_jax.training import start
from tests import tiny


def step(config, workdir, mesh, *, save=False):
  """Takes one step from the newest checkpoint.

  Args:
    config: The experiment.
    workdir: Folder of the run.
    mesh: Mesh of the devices of all processes.
    save: Whether to save the state after the step.

  Returns:
    The parameters before the step, as arrays on the host, and the loss.
  """
  stage, steps = run.STAGES[config.stage], config.train.steps
  if config.stage == 1:
    task = stage1.build(config, mesh, total_steps=steps)
  else:
    tokenizer = Tokenizer.restore(config.tokenizer, verbose=False)
    task = stage2.build(config, mesh, total_steps=steps, tokenizer=tokenizer)
  train = run.sources.open_source(config.data, 'train')
  whole = partitioning.replicated(mesh)
  with (
      partitioning.activate(mesh),
      runs.Checkpoints(workdir, keep=9) as checkpoints,
  ):
    state, shardings, meta = start.open_state(
        stage, task, config, mesh=mesh, checkpoints=checkpoints, train=train
    )
    before = jax.jit(lambda x: x, out_shardings=whole)(state.params)
    batches = loop.loader.train_batches(
        train,
        transform=loop.loader.image_transform(config.data, train=True),
        batch_size=config.data.batch_size,
        seed=config.seed,
        step=meta['step'],
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    batch = partitioning.global_batch(next(batches), mesh)
    batches.close()
    batch.pop('replaced', None)
    advance = jax.jit(stage.train_step, out_shardings=(shardings, whole))
    state, metrics = advance(task, state, batch)
    if save:
      number = int(np.asarray(state.step))
      checkpoints.save(number, state, {**meta, 'step': number})
  return jax.tree.map(np.asarray, before), float(np.asarray(metrics['loss']))


def copied(stage, folder):
  """The experiment of `tiny.finished_run`, and a copy of its folder."""
  return tiny.run_config(stage), shutil.copytree(
      tiny.finished_run(stage), folder / 'moved'
  )


def digest(params):
  """A hash of all parameters, with their names."""
  found = hashlib.sha256()
  for path, array in jax.tree_util.tree_leaves_with_path(params):
    found.update(jax.tree_util.keystr(path).encode())
    found.update(np.ascontiguousarray(array).tobytes())
  return found.hexdigest()
