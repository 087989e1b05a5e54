"""Folders for files that several tests read and none changes."""

import atexit
from collections.abc import Callable
import fcntl
import pathlib
import shutil
import tempfile

# Folder that all workers of this run share; tests/conftest.py sets it.
shared: pathlib.Path | None = None


def new() -> pathlib.Path:
  """Makes a folder that is removed when the tests end."""
  folder = pathlib.Path(tempfile.mkdtemp(prefix='rq_jax_test_'))
  atexit.register(shutil.rmtree, folder)
  return folder


def made_once(name: str, make: Callable[[pathlib.Path], object]):
  """Returns a folder that only the first caller of all workers fills.

  Args:
    name: Name of the folder.
    make: Fills it.
  """
  folder, made = shared / name, shared / f'{name}.made'
  with (shared / f'{name}.lock').open('w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)  # Until the file is closed.
    if not made.exists():
      make(folder)
      made.touch()
  return folder
