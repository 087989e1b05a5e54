"""The folder of a run: who may write to it, and which experiment it holds."""

from collections.abc import Sequence
import contextlib

from etils import epath

from rq_jax import config as config_lib
from rq_jax import files
from rq_jax.checkpoints import class_names
from rq_jax.checkpoints import stored
from rq_jax.config import Experiment
from rq_jax.distributed import locks
from rq_jax.distributed import processes


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
    self._is_held = False

  def __enter__(self):
    self._hold(make=False)
    return self

  def __exit__(self, *_):
    self._held.close()

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
    if (self.folder / 'config.json').exists():
      config_lib.check_resumable(stored.read_config(self.folder), config)
    class_names.check(self.folder, classes)

    def record():
      stored.write_config(self.folder, config)
      class_names.write(self.folder, classes)

    processes.only_first(record)

  def _hold(self, *, make: bool) -> None:
    """Locks the folder, in the first process, if it exists or `make` is set."""
    processes.only_first(lambda: self._hold_here(make))

  def _hold_here(self, make: bool) -> None:
    if self._is_held or not (make or self.folder.exists()):
      return
    self._held.enter_context(locks.hold(self.folder, flag='--workdir'))
    self._is_held = True
