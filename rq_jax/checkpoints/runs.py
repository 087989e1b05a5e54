"""Saves the states of a training run in the background, and resumes them.

A run's folder holds `config.json`, the experiment, and `checkpoints/<step>/`,
written by Orbax. In each of these, `state` is everything that a training step
reads and writes, `meta` holds further facts about the step, and `manifest` says
what both held when they were saved, see `manifests`.
"""

from collections.abc import Callable
import contextlib
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from rq_jax import files
from rq_jax.checkpoints import failures
from rq_jax.checkpoints import manifests
from rq_jax.checkpoints import reading
from rq_jax.checkpoints import retention
from rq_jax.checkpoints import steps
from rq_jax.distributed import processes
from rq_jax.typing import PyTree

# An array that several devices hold is written in slices, one by each device.
# Arrays below this number of bytes are not sliced: there are hundreds of them.
_SLICED_FROM = 2**20
# Compression shrinks trained arrays to this share of their size at best.
_COMPRESSED = 0.9


class Checkpoints:
  """The checkpoints of one run, written in the background.

  The newest `keep` stay, and those that `every` and `evaluations` name.

  Use it as a context manager: leaving it waits for unfinished writes. All
  processes of a program must take part. Failures in the background are raised
  by the next method that is called, or on leaving, as a
  `failures.SaveFailedError` or a `files.DiskFullError`.

  Attributes:
    evaluations: Values of the metric that decides which checkpoint is the best.
      Add new evaluations to them.
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
    self._around = manifests.surroundings(self._workdir)
    self._folder = steps.folder(workdir)
    self._described = (self._workdir / 'config.json').exists()
    if steps.finished(workdir):
      self._set_aside_after(steps.find(workdir, None))
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
        self._folder,
        options=ocp.CheckpointManagerOptions(
            preservation_policy=policy, cleanup_tmp_directories=True
        ),
        item_handlers={
            'state': ocp.PyTreeCheckpointHandler(
                type_handler_registry=registry
            ),
            'meta': ocp.JsonCheckpointHandler(),
            manifests.ITEM: ocp.JsonCheckpointHandler(),
        },
    )

  def __enter__(self):
    self._quiet = contextlib.ExitStack()
    self._quiet.enter_context(failures.without_log())
    return self

  def __exit__(self, *_):
    with self._quiet:
      try:
        with failures.naming(self._folder):
          self._manager.close()
      except OSError:
        if jax.process_index() == 0:
          failures.remove_unfinished(self._folder, of_run=self._described)
        raise

  def steps(self) -> list[int]:
    """Steps of the checkpoints, in order, also of one that is being written."""
    return sorted(self._manager.all_steps())

  def latest_step(self) -> int | None:
    """Step of the newest checkpoint, or None."""
    return self._manager.latest_step()

  def save(self, step: int, state: PyTree, meta: dict[str, Any]) -> None:
    """Starts to write a checkpoint; `state` may be donated right afterwards.

    Args:
      step: Step of the checkpoint.
      state: Arrays on devices or on the host.
      meta: Further facts, as plain values.

    Raises:
      files.DiskFullError: If there is no room. Nothing is written.
      failures.SaveFailedError: If this checkpoint or the one before cannot be
        written.
    """
    processes.only_first(lambda: self._require_room(state))
    state = jax.tree.map(_without_type, state)
    meta, manifest = manifests.make(step, state, meta, self._around)
    with failures.naming(self._folder):
      self._manager.save(
          step,
          args=ocp.args.Composite(
              state=ocp.args.PyTreeSave(state),
              meta=ocp.args.JsonSave(meta),
              **{manifests.ITEM: ocp.args.JsonSave(manifest)},
          ),
      )

  def wait(self) -> None:
    """Waits for the save that is being written; raises its failure."""
    with failures.naming(self._folder):
      self._manager.wait_until_finished()

  def discard_failed(self) -> None:
    """Removes what a failed save left, so that a later one can be tried.

    All processes must call it.
    """
    with contextlib.suppress(OSError):  # The failure is known already.
      self.wait()
    if jax.process_index() == 0:
      failures.remove_unfinished(self._folder, of_run=self._described)
    processes.wait_for_all('discard a failed save')
    with contextlib.suppress(OSError):  # The folder may have vanished.
      self._manager.reload()

  def restore_newest(
      self, abstract: PyTree, shardings: PyTree
  ) -> tuple[PyTree, dict[str, Any]] | None:
    """Restores the newest checkpoint that is whole, see `restore`.

    Newer ones that cannot be read, or that have changed since they were saved,
    are reported and moved, as on opening. All processes restore the same one.

    Returns:
      The state and its meta; None if there are no checkpoints.

    Raises:
      ValueError: If there are checkpoints and none can be restored.
    """
    restored = {}

    def problem(step: int) -> str | None:
      try:
        restored[step] = self.restore(step, abstract, shardings)
      except steps.DamagedError as error:
        return error.reason
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
    """Restores the state of a step, placed by `shardings`, and its meta.

    Raises:
      steps.DamagedError: If the checkpoint cannot be read in one of the
        processes, or has changed since it was saved.
    """
    plain = jax.eval_shape(lambda t: jax.tree.map(_without_type, t), abstract)
    found = self._agreed(step, lambda: steps.described(self._workdir, step))
    state = self._agreed(
        step,
        lambda: reading.read(
            self._workdir, step, plain, shardings, found.manifest
        ),
    )
    if (manifest := found.manifest) is not None:
      # All processes take part in hashing, so all must have read their part.
      self._agreed(
          step,
          lambda: manifests.check_arrays(manifest, manifests.flat(state)),
      )
    state = reading.cast(state, plain)
    return jax.tree.map(_with_type, state, abstract), found.meta

  def _agreed(self, step: int, read: Callable[[], Any]) -> Any:
    """Reads a part of a checkpoint; fails everywhere if it fails anywhere.

    Raises:
      steps.DamagedError: If the checkpoint is damaged.
    """
    result, reason = None, None
    try:
      result = read()
    except Exception as error:
      reason = steps.damage(error)
    reason = processes.first_problem(reason)
    if reason is not None:
      raise steps.DamagedError(
          f'Checkpoint {step} of {self._workdir} cannot be read: {reason}.',
          reason,
      )
    return result

  def _require_room(self, state: PyTree) -> None:
    """Refuses a folder that cannot be written or is too small.

    Orbax would fail later, in many threads, and create folders that vanished.
    """
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    files.require_space(self._workdir, round(size * _COMPRESSED))
    with failures.naming(self._folder):
      failures.require_writable(self._folder)

  def _set_aside_after(self, step: int) -> None:
    if jax.process_index() == 0:
      steps.set_aside(self._workdir, step)
    processes.wait_for_all('set aside')


def _is_key(leaf) -> bool:
  return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_type(leaf):
  """The data of a random key; other arrays as they are."""
  return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _with_type(leaf, abstract):
  """The random key with this data, if `abstract` is a key."""
  return jax.random.wrap_key_data(leaf) if _is_key(abstract) else leaf
