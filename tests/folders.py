"""Folders for files that several tests read and none changes."""

import atexit
import pathlib
import shutil
import tempfile


def new() -> pathlib.Path:
  """Makes a folder that is removed when the tests end."""
  folder = pathlib.Path(tempfile.mkdtemp(prefix='rq_jax_test_'))
  atexit.register(shutil.rmtree, folder)
  return folder
