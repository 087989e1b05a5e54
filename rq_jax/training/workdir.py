"""The folder of a run: who may write to it, and which experiment it holds."""

from collections.abc import Sequence
import contextlib

from etils import epath

from rq_jax import config as config_lib
from rq_jax import files
from rq_jax.checkpoints import class_names
from rq_jax.checkpoints import stored
from rq_jax.config import Experiment
from rq_jax.distributed import console
from rq_jax.distributed import locks
from rq_jax.distributed import processes


class VanishedError(OSError):
  """The folder of a run, or the run in it, no longer exists.

  Attributes:
    reason: The message without the advice for a run that has ended.
  """

  def __init__(self, folder: epath.Path):
    """Makes the message about the folder of a run."""
    self.reason = (
        f'--workdir={folder} no longer holds config.json, so its checkpoints'
        ' would be useless: the folder was removed, moved or unmounted while'
        ' the run wrote to it. Put it back.'
    )
    super().__init__(
        f'{self.reason} Then run the same command again to resume from its'
        ' newest checkpoint.'
    )


class Workdir:
  """The folder of a run; a context manager that keeps other programs away.

  A folder that exists is locked on entering, so that a second program is
  refused before it builds anything. Otherwise, `prepare` creates and locks the
  folder. All processes of a program must take part.

  Attributes:
    folder: The folder.
  """

  def __init__(self, path: epath.PathLike):
    """Names the folder, see `files.path`; no file is touched yet."""
    self.folder = epath.Path(files.path(path, 'workdir'))
    self._held = contextlib.ExitStack()
    self._lock: locks.Held | None = None

  def __enter__(self):
    self._hold(make=False)
    return self

  def __exit__(self, *_):
    self._held.close()

  @property
  def has_run(self) -> bool:
    """Whether the folder holds a run, which would be resumed."""
    return _has_run(self.folder)

  def prepare(
      self, config: Experiment, classes: Sequence[str] | None = None
  ) -> None:
    """Creates the folder and records the experiment, or checks the one in it.

    Args:
      config: The experiment.
      classes: Names of the classes of the data; None if they are unknown.

    Raises:
      ValueError: If the folder cannot be written, another program writes to it,
        or it holds a run with other settings or other classes.
      DiskFullError: If there is no room for the record.
    """
    self._hold(make=True)
    if self.has_run:
      config_lib.check_resumable(stored.read_config(self.folder), config)
    class_names.check(self.folder, classes)

    def record():
      stored.write_config(self.folder, config)
      class_names.write(self.folder, classes)

    processes.only_first(record)

  def require_held(self) -> None:
    """Raises a LostError if another program has taken the folder.

    Call it in the first process, before it writes.
    """
    if self._lock is not None:
      self._lock.require()

  def require_there(self) -> None:
    """Raises a VanishedError if the folder or its run has been removed."""
    if not self.has_run:
      raise VanishedError(self.folder)

  def _hold(self, *, make: bool) -> None:
    """Locks the folder, in the first process, if it exists or `make` is set."""
    processes.only_first(lambda: self._hold_here(make))

  def _hold_here(self, make: bool) -> None:
    if self._lock or not (make or self.folder.exists()):
      return
    self._lock = self._held.enter_context(
        locks.hold(self.folder, flag='--workdir')
    )


def with_stored(path: epath.PathLike, config: Experiment) -> Experiment:
  """Returns the experiment that resumes the run in a folder, if there is one.

  It differs from `config` only if the run is from an older version: see
  `config.with_stored`. The changes are printed.

  Args:
    path: Folder of the run; it need not exist.
    config: The experiment.

  Raises:
    ValueError: If the experiment in the folder cannot be read.
  """
  folder = epath.Path(files.path(path, 'workdir'))
  if not _has_run(folder):
    return config
  config, kept = config_lib.with_stored(stored.read_config(folder), config)
  if kept:
    values = ', '.join(f'config.{name}={value}' for name, value in kept.items())
    console.tell(f'The run in {folder} began with {values}, and keeps this.')
  return config


def _has_run(folder: epath.Path) -> bool:
  return (folder / 'config.json').exists()
