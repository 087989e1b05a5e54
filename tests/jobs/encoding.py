"""A tokenizer that stands in for encoding, and the contents of a cache."""

import dataclasses
import os
import signal

import numpy as np

from rq_jax import tokenizer as tokenizer_lib
from tests import tiny

SHARD_ROWS = 400  # Splits of 1438 and 359 examples have 4 + 1 shards.


@dataclasses.dataclass(frozen=True, kw_only=True)
class StandIn(tokenizer_lib.Tokenizer):
  """A tokenizer with functions to call, one before each batch."""

  before: list = dataclasses.field(default_factory=list)


def features(tokenizer, images):
  """All features are the mean of their image."""
  if tokenizer.before:
    tokenizer.before.pop(0)()
  means = np.asarray(images).mean(axis=(1, 2, 3), keepdims=True)
  return np.broadcast_to(means, (len(images), *tokenizer.model.features_shape))


class Killed(BaseException):
  """Ends a job like SIGKILL: nothing handles this exception."""


def stand_in(*, seed=0, batches=None, then=None):
  """A tokenizer that calls `then` after a number of batches."""
  whole = tiny.untrained_tokenizer(seed)
  fields = {f.name: vars(whole)[f.name] for f in dataclasses.fields(whole)}
  calls = [] if then is None else [*[lambda: None] * batches, then]
  return StandIn(**fields, before=calls)


def fail():
  raise RuntimeError('A device was lost.')


def stop():
  os.kill(os.getpid(), signal.SIGTERM)


def data(**fields):
  return tiny.stage1_config(data=dict(batch_size=400) | fields).data


def contents(folder):
  """Bytes of all files of a cache, by name; not those about the job."""
  return {
      str(file.relative_to(folder)): file.read_bytes()
      for file in folder.rglob('*')
      if file.is_file() and file.name not in ('.lock', 'encoded.json')
  }


def shards_in(folder):
  return sorted(file.name[9:14] for file in folder.glob('train/feat*.npy'))
