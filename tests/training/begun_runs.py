"""Runs that have begun, and the tokenizers and caches that they read."""

import functools

import numpy as np
import pytest

from rq_jax.checkpoints import inference_copy
from rq_jax.checkpoints import runs
from rq_jax.training import run
from tests import folders
from tests import tiny
from tests.data import caches


@functools.cache
def begun(stage):
  """The folder of a run that has only saved its initial state."""

  def save(stage, task, config, mesh, workdir, *, splits, **_):
    del config, mesh
    meta = {'step': 1, 'num_examples': len(splits.train)}
    with runs.Checkpoints(workdir, keep=1) as checkpoints:
      checkpoints.save(1, tiny.initial_state(stage, task), meta)

  folder = folders.new()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(run.loop, 'run', save)
    run.train(run_config(stage), folder)
  return folder


def run_config(stage):
  """The experiment of such a run."""
  tokenizer = str(begun(1)) if stage == 2 else None
  return tiny.run_config(stage, tokenizer=tokenizer)


def exported(path, seed=1):
  """The folder of an untrained tokenizer."""
  other = tiny.untrained_tokenizer(seed)
  inference_copy.export(path, tiny.stage1_config(), other.variables)
  return str(path)


def write_cache(path, *, train=10, test=10, **fields):
  """A cache of the untrained tokenizer, with numbers of classes by split."""
  for split, count in (('train', train), ('test', test)):
    caches.write(
        path,
        np.zeros((8, 1, 8, 8, 4)),
        np.zeros(8, int),
        name=split,
        num_classes=count,
        fingerprint=tiny.untrained_tokenizer().fingerprint,
        **fields,
    )
  return path
