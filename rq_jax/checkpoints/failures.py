"""What happens when a checkpoint of a run cannot be saved."""

from collections.abc import Iterator
import contextlib
import logging
import uuid

from etils import epath

from rq_jax import files
from rq_jax.checkpoints import steps

# The suffix of folders that are not complete. Orbax does not count them, and
# removes them when it opens the checkpoints of a run.
UNFINISHED = '.orbax-checkpoint-tmp'

_seen = False  # Not the errors: they would keep the arrays of their frames.


class SaveFailedError(OSError):
  """A checkpoint could not be written; the message says where and why.

  Attributes:
    reason: The part of the message that says why, as a sentence.
  """

  def __init__(self, folder: epath.Path, cause: str):
    """Makes the message.

    Args:
      folder: Folder of the checkpoints.
      cause: Why nothing could be written, without a full stop.
    """
    super().__init__(
        f'A checkpoint could not be saved in {folder}: {cause}. Earlier'
        ' checkpoints are unchanged. Run the same command again to resume from'
        ' the newest.'
    )
    self.reason = f'{cause}.'


@contextlib.contextmanager
def naming(folder: epath.Path) -> Iterator[None]:
  """Rewords errors of writing, from Orbax and from libraries below it.

  Args:
    folder: Folder of the checkpoints.

  Raises:
    files.DiskFullError: If the disk is full.
    SaveFailedError: For every other error.
  """
  global _seen
  try:
    with files.naming_a_full_disk(folder):
      yield
  except files.DiskFullError:
    _seen = True
    raise
  except Exception as error:  # From many libraries and from threads.
    _seen = True
    raise SaveFailedError(folder, steps.shown(error)) from error


def seen() -> bool:
  """Whether a save of this program has failed.

  Threads of Orbax may then wait for the rest of the save, for minutes.
  """
  return _seen


def require_writable(folder: epath.Path) -> None:
  """Makes and removes a file in a local folder; raises the error of this."""
  if files.is_local(folder):
    probe = folder / f'.{uuid.uuid4().hex}{files.PARTIAL}'
    probe.write_bytes(b'')
    probe.unlink()


def remove_unfinished(folder: epath.Path, *, of_run: bool) -> None:
  """Removes folders of saves that failed, where that is possible.

  Args:
    folder: Folder of the checkpoints.
    of_run: Whether the folder above had a `config.json`. If it has none now,
      the run was removed, and Orbax has made its folders again.
  """
  with contextlib.suppress(OSError, ValueError):  # Not empty: ValueError.
    for path in folder.iterdir():
      if path.name.endswith(UNFINISHED):
        path.rmtree()
    if of_run and not (folder.parent / 'config.json').exists():
      folder.rmdir()  # Only if it is empty.
      folder.parent.rmdir()


@contextlib.contextmanager
def without_log() -> Iterator[None]:
  """Hides Orbax's log, whose errors are all raised as well."""

  def is_wanted(record: logging.LogRecord) -> bool:
    return 'orbax' not in record.pathname

  logger = logging.getLogger('absl')
  logger.addFilter(is_wanted)
  try:
    yield
  finally:
    logger.removeFilter(is_wanted)
