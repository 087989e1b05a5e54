"""Damages one file of a model's folder at a time, and restores the model.

What a user gets must be an error or a fallback that is printed, or exactly what
was saved.
"""

import collections
import contextlib
import io
import pathlib
import shutil

import jax
import numpy as np

from rq_jax.checkpoints import runs
from rq_jax.checkpoints import steps
from rq_jax.checkpoints import stored
from rq_jax.distributed import partitioning
from rq_jax.training import run
from rq_jax.training import workdir as workdir_lib
from tests import tiny

# Files of a folder that restoring does not read.
_NOT_READ = ('metrics.jsonl', '.lock', '.tfevents')


def bits(array):
  """The bytes of an array, and what they mean."""
  if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
    array = jax.random.key_data(array)
  array = np.asarray(array)
  return str(array.dtype), array.shape, array.tobytes()


def contents(tree):
  return jax.tree.map(bits, tree)


class Training:
  """Resumes a run up to its state, as `training.run` does."""

  def __init__(self, *, stage, experiment, task):
    self._experiment = experiment
    boxed = jax.eval_shape(
        run.STAGES[stage].init_state, task, jax.random.key(0)
    )
    self._abstract = partitioning.unbox(boxed)
    self._shardings = partitioning.state_sharding(boxed, tiny.one_device())

  def __call__(self, folder):
    config = workdir_lib.with_stored(folder, self._experiment)
    with workdir_lib.Workdir(folder) as held:
      held.prepare(config)
      with runs.Checkpoints(folder, keep=2) as checkpoints:
        state, meta = checkpoints.restore_newest(
            self._abstract, self._shardings
        )
    return contents(state), meta


def files_of(folder, *, without=()):
  """Files of a folder that restoring may read, sorted by size.

  Their names are partly random, so sorted by name they would be in another
  order in each run.
  """
  return [
      path
      for path in sorted(pathlib.Path(folder).rglob('*'), key=_size_and_name)
      if path.is_file()
      and not any(word in path.name for word in _NOT_READ)
      and not any(part in without for part in path.parts)
  ]


def _size_and_name(path):
  return path.stat().st_size, path


def flip(rng, files):
  """Flips a random bit: half of them in any file, half in any byte."""
  sizes = np.array([file.stat().st_size for file in files], float)
  weights = (sizes > 0) / np.sum(sizes > 0) + sizes / np.sum(sizes)
  file = files[rng.choice(len(files), p=weights / 2)]
  content = bytearray(file.read_bytes())
  bit = int(rng.integers(8 * len(content)))
  content[bit // 8] ^= 1 << bit % 8
  file.write_bytes(content)
  return f'{file}, bit {bit}'


class Drill:
  """Damages copies of a folder, and counts what restoring them does.

  Attributes:
    counts: How often restoring was 'refused', fell 'back' or was the 'same'.
    wrong: Descriptions of the silent or badly worded ones.
  """

  def __init__(self, sound, scratch, restore):
    self._sound, self._copy = sound, scratch / 'damaged'
    self._restore = restore
    self._fresh()
    self.expected = restore(self._copy)
    self.counts, self.wrong = collections.Counter(), []

  def _fresh(self):
    shutil.rmtree(self._copy, ignore_errors=True)
    shutil.copytree(self._sound, self._copy)
    return self._copy

  def __call__(self, damage):
    """Applies `damage` to a copy, restores it and returns what it printed."""
    copy = self._fresh()
    what = damage(copy)
    steps.note.cache_clear()
    said = io.StringIO()
    try:
      with contextlib.redirect_stdout(said):
        found = self._restore(copy)
    except (ValueError, OSError) as error:
      self.counts['refused'] += 1
      return str(error)
    except Exception as error:  # A user would see a traceback.
      self.wrong.append(f'{what}: {error!r}')
      return repr(error)
    if found == self.expected:
      self.counts['same'] += 1
    elif 'Skipping checkpoint' in said.getvalue():
      self.counts['back'] += 1
    else:
      self.wrong.append(f'{what}: silent')
    return said.getvalue()


def variables_of(folder, abstract):
  """What `stored.restore_variables` returns, to compare."""
  return contents(stored.restore_variables(folder, abstract)[0])
