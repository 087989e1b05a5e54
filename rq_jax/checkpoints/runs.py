"""Saves the states of a training run in the background, and resumes them.

A run's folder holds `config.json`, the experiment, and `checkpoints/<step>/`,
written by Orbax. In each of these, `state` is everything that a training step
reads and writes, and `meta` holds further facts about the step.
"""

from collections.abc import Iterator
import contextlib
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from rq_jax import files
from rq_jax.checkpoints import retention
from rq_jax.checkpoints import steps
from rq_jax.distributed import processes
from rq_jax.typing import PyTree

# An array that several devices hold is written in slices, one by each device.
# Arrays below this number of bytes are not sliced: there are hundreds of them.
_SLICED_FROM = 2**20
# Compression shrinks trained arrays to this share of their size at best.
_COMPRESSED = 0.9


class SaveFailedError(OSError):
  """A checkpoint could not be written; the message says where and why."""


class Checkpoints:
  """The checkpoints of one run, written in the background.

  The newest `keep` stay, and those that `every` and `evaluations` name.

  Attributes:
    evaluations: Values of the metric that decides which checkpoint is the best.
      Add new evaluations to them.

  Use it as a context manager: leaving it waits for unfinished writes. All
  processes of a program must take part. Failures in the background are raised
  by the next method that is called, or on leaving, as a `SaveFailedError` or a
  `files.DiskFullError`.
  """

  def __init__(
      self,
      workdir: epath.PathLike,
      *,
      keep: int,
      every: int = 0,
      evaluations: retention.Evaluations | None = None,
  ):
    """Opens the checkpoints of a run, up to the newest one that is whole.

    Newer, damaged ones are reported and moved to `damaged_checkpoints/STEP`,
    because Orbax would refuse to save a step before them.

    Args:
      workdir: The folder of the run.
      keep: How many of the newest are kept.
      every: Steps that are multiples of this are kept; 0 for none.
      evaluations: The best step by these is kept; None for none.

    Raises:
      ValueError: If there are checkpoints, and none is whole.
    """
    self._workdir = epath.Path(workdir).resolve()
    if steps.finished(workdir):
      self._set_aside_after(steps.find(workdir, None))
    folder = steps.folder(workdir)
    arrays = ocp.type_handlers.ArrayHandler(
        min_slice_bytes_for_replica_parallel=_SLICED_FROM
    )
    registry = ocp.type_handlers.create_type_handler_registry(
        (jax.Array, arrays), (np.ndarray, ocp.type_handlers.NumpyHandler())
    )
    self.evaluations = evaluations or retention.Evaluations(None)
    policy = retention.Policy(
        keep,
        every=every,
        evaluations=self.evaluations,
        existing=steps.finished(workdir),
    )
    for step in policy.unknown:
      steps.note(
          f'Checkpoint {step} of {workdir} is kept: metrics.jsonl has no'
          f' {self.evaluations.metric} for it, so it may be the best.'
      )
    self._manager = ocp.CheckpointManager(
        folder,
        options=ocp.CheckpointManagerOptions(
            preservation_policy=policy, cleanup_tmp_directories=True
        ),
        item_handlers={
            'state': ocp.PyTreeCheckpointHandler(
                type_handler_registry=registry
            ),
            'meta': ocp.JsonCheckpointHandler(),
        },
    )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    with self._naming_failures():
      self._manager.close()

  def steps(self) -> list[int]:
    """Steps of the checkpoints, in order, also of one that is being written."""
    return sorted(self._manager.all_steps())

  def latest_step(self) -> int | None:
    """Step of the newest checkpoint, or None."""
    return self._manager.latest_step()

  def save(self, step: int, state: PyTree, meta: dict[str, Any]) -> None:
    """Starts to write a checkpoint; `state` may be donated right afterwards.

    Raises:
      files.DiskFullError: If there is no room. Nothing is written.
      SaveFailedError: If this checkpoint or the one before cannot be written.
    """
    self._require_space(state)
    with self._naming_failures():
      self._manager.save(
          step,
          args=ocp.args.Composite(
              state=ocp.args.PyTreeSave(jax.tree.map(_without_type, state)),
              meta=ocp.args.JsonSave(meta),
          ),
      )

  def restore_newest(
      self, abstract: PyTree, shardings: PyTree
  ) -> tuple[PyTree, dict[str, Any]] | None:
    """Restores the newest checkpoint that can be read, see `restore`.

    Newer ones that cannot be read are reported and moved, as on opening. With
    several processes, which must all restore the same one, they are an error.

    Returns:
      The state and its meta; None if there are no checkpoints.

    Raises:
      ValueError: If there are checkpoints and none can be restored.
    """
    restored = {}

    def problem(step: int) -> str | None:
      try:
        restored[step] = self.restore(step, abstract, shardings)
      except Exception as error:
        reason = steps.damage(error)
        if jax.process_count() == 1:
          return reason
        raise ValueError(
            f'Checkpoint {step} of {self._workdir} cannot be restored:'
            f' {reason}. Move checkpoints/{step} elsewhere to resume from the'
            ' one before.'
        ) from error
      return None

    if self.latest_step() is None:
      return None
    step = steps.find(self._workdir, None, problem)
    if step != self.latest_step():
      self._set_aside_after(step)
      self._manager.reload()
    return restored[step]

  def restore(
      self, step: int, abstract: PyTree, shardings: PyTree
  ) -> tuple[PyTree, dict[str, Any]]:
    """Restores the state of a step, placed by `shardings`, and its meta."""
    plain = jax.eval_shape(lambda t: jax.tree.map(_without_type, t), abstract)
    restore_args = jax.tree.map(
        lambda a, s: ocp.ArrayRestoreArgs(
            sharding=s, global_shape=a.shape, dtype=a.dtype
        ),
        plain,
        shardings,
    )
    restored = self._manager.restore(
        step,
        args=ocp.args.Composite(
            state=ocp.args.PyTreeRestore(plain, restore_args=restore_args),
            meta=ocp.args.JsonRestore(),
        ),
    )
    state = jax.tree.map(_with_type, restored['state'], abstract)
    return state, restored['meta']

  def _require_space(self, state: PyTree) -> None:
    """Refuses a state that cannot fit: Orbax would fail in many threads."""
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    needs = round(size * _COMPRESSED)
    processes.only_first(lambda: files.require_space(self._workdir, needs))

  def _set_aside_after(self, step: int) -> None:
    if jax.process_index() == 0:
      steps.set_aside(self._workdir, step)
    processes.wait_for_all('set aside')

  @contextlib.contextmanager
  def _naming_failures(self) -> Iterator[None]:
    """Rewords errors of writing, from Orbax and from libraries below it."""
    folder = steps.folder(self._workdir)
    try:
      with files.naming_a_full_disk(folder):
        yield
    except files.DiskFullError:
      raise
    except Exception as error:  # From many libraries and from threads.
      raise SaveFailedError(
          f'A checkpoint could not be saved in {folder}:'
          f' {steps.shown(error)}. Earlier checkpoints are unchanged.'
          ' Run the same command again to resume from the newest.'
      ) from error


def _is_key(leaf) -> bool:
  return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_type(leaf):
  """The data of a random key; other arrays as they are."""
  return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _with_type(leaf, abstract):
  """The random key with this data, if `abstract` is a key."""
  return jax.random.wrap_key_data(leaf) if _is_key(abstract) else leaf
