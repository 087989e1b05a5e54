"""Keeps compiled programs on disk between runs, and times compilations."""

from collections.abc import Iterator
import contextlib
import dataclasses
import os
import pathlib
import stat
from typing import Any, cast

import jax

from rq_jax import files
from rq_jax.distributed import console

_BACKEND = '/jax/core/compile/backend_compile_duration'
_ENABLED = 'RQ_JAX_COMPILATION_CACHE'


def keep(
    folder: str | None = None, *, by_default: bool = True
) -> pathlib.Path | None:
  """Keeps on disk all programs that JAX compiles from now on.

  Anyone who can write to the folder can run code in this process. So the folder
  is created for this user only, and a folder that others can write to is never
  used.

  Args:
    folder: The folder; 'off' keeps nothing. None uses the folder that JAX
      already uses (`JAX_COMPILATION_CACHE_DIR`), or else that of the
      environment variable `RQ_JAX_COMPILATION_CACHE`, or else a folder in the
      user's cache. If the folder in the user's cache cannot be used, a warning
      gives the reason, and nothing is kept.
    by_default: Whether the folder in the user's cache may be used. If not,
      nothing is kept unless a folder is given, here or by the environment.

  Returns:
    The folder, or None if nothing is kept.

  Raises:
    ValueError: If a folder is given by `folder` or the environment, but cannot
      be created or written, belongs to another user, or others can write to it.
  """
  # JAX adds its options when it is imported, unseen by type checkers.
  known = cast(Any, jax.config).jax_compilation_cache_dir
  if folder is None and known:
    return pathlib.Path(known)
  given = folder or os.environ.get(_ENABLED)
  if given == 'off' or not (given or by_default):
    return None
  try:
    path = _usable(given or _default())
  except ValueError as error:
    if given:
      raise
    console.warn(f'Compiled programs are not kept on disk. {error}')
    return None
  jax.config.update('jax_compilation_cache_dir', str(path))
  # Small programs are kept, too, because there are dozens of them.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
  return path


def _default() -> str:
  """A folder in the user's cache."""
  folder = files.user_cache('xla')
  if folder is None:
    raise ValueError(
        f'There is no home folder. Set {_ENABLED} to a folder, or to off.'
    )
  return str(folder)


def _usable(folder: str) -> pathlib.Path:
  """Creates the folder, and checks that it can be written and trusted."""
  path = pathlib.Path(files.path(folder, _ENABLED))
  try:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
  except OSError as error:
    raise ValueError(
        f'The folder {path} for compiled programs cannot be created:'
        f' {error.strerror}. Set {_ENABLED} to another folder, or to off.'
    ) from error
  status = path.stat()
  own = status.st_uid == os.getuid()
  if not own or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    mend = f'Run chmod 700 {path}, or set' if own else 'Set'
    raise ValueError(
        f'The folder {path} for compiled programs is not safe: other users can'
        ' write to it, and so could run code in this process.'
        f' {mend} {_ENABLED} to another folder, or to off.'
    )
  if not os.access(path, os.W_OK | os.X_OK):
    raise ValueError(
        f'The folder {path} for compiled programs cannot be written. Set'
        f' {_ENABLED} to another folder, or to off.'
    )
  return path


@dataclasses.dataclass
class Clock:
  """Time spent on compiling, or on reading compiled programs from disk.

  Attributes:
    seconds: Seconds so far.
  """

  seconds: float = 0.0


@contextlib.contextmanager
def clock() -> Iterator[Clock]:
  """Measures the compilations of all threads during a `with` block."""
  found = Clock()

  def note(event: str, duration_secs: float, **_: str | int) -> None:
    if event == _BACKEND:
      found.seconds += duration_secs

  jax.monitoring.register_event_duration_secs_listener(note)
  try:
    yield found
  finally:
    jax.monitoring.unregister_event_duration_listener(note)
