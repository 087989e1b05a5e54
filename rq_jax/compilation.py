"""Compiled programs: kept on disk between runs, and timed."""

from collections.abc import Iterator
import contextlib
import dataclasses
import os
import pathlib
import stat

import jax

from rq_jax import files
from rq_jax.distributed import console

_BACKEND = '/jax/core/compile/backend_compile_duration'
_ENABLED = 'RQ_JAX_COMPILATION_CACHE'


def keep(folder: str | None = None) -> pathlib.Path | None:
  """Keeps compiled programs on disk, for all that is compiled from now on.

  Whoever can write to the folder can run code in this process: it is made for
  this user only, and never used where others may write. A folder that JAX knows
  already (`JAX_COMPILATION_CACHE_DIR`) stays.

  Args:
    folder: Where; `RQ_JAX_COMPILATION_CACHE` if None, and else a folder in the
      user's cache. If that last one cannot be used, a warning says why, and
      nothing is kept. `off` keeps nothing.

  Returns:
    The folder, or None.

  Raises:
    ValueError: If the folder that is given, here or by the environment, cannot
      be made or written, others may write to it, or it belongs to another user.
  """
  if folder is None and jax.config.jax_compilation_cache_dir:
    return pathlib.Path(jax.config.jax_compilation_cache_dir)
  given = folder or os.environ.get(_ENABLED)
  if given == 'off':
    return None
  try:
    path = _usable(given or _default())
  except ValueError as error:
    if given:
      raise
    console.warn(f'Compiled programs are not kept: {error}')
    return None
  jax.config.update('jax_compilation_cache_dir', str(path))
  # Small programs, too: there are dozens of them.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
  return path


def _default() -> str:
  """A folder in the user's cache."""
  try:
    base = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  except RuntimeError as error:
    raise ValueError(
        f'there is no home folder. Set {_ENABLED} to a folder, or to off.'
    ) from error
  return os.path.join(base, 'rq_jax', 'xla')


def _usable(folder: str) -> pathlib.Path:
  """Makes the folder, and refuses one that cannot be written or trusted."""
  path = pathlib.Path(files.path(folder, 'the folder of compiled programs'))
  try:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
  except OSError as error:
    raise ValueError(
        f'{path}, for compiled programs, cannot be made: {error.strerror}. Set'
        f' {_ENABLED} to another folder, or to off.'
    ) from error
  status = path.stat()
  own = status.st_uid == os.getuid()
  if not own or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
    mend = f'Run chmod 700 {path}, or set' if own else 'Set'
    raise ValueError(
        f'{path} is no place for compiled programs: others may write to it, and'
        f' so run code here. {mend} {_ENABLED} to another folder, or to off.'
    )
  if not os.access(path, os.W_OK | os.X_OK):
    raise ValueError(
        f'{path}, for compiled programs, cannot be written. Set {_ENABLED} to'
        ' another folder, or to off.'
    )
  return path


@dataclasses.dataclass
class Clock:
  """Time spent compiling, or reading compiled programs from disk.

  Attributes:
    seconds: So far.
  """

  seconds: float = 0.0


@contextlib.contextmanager
def clock() -> Iterator[Clock]:
  """Measures the compilations inside of a `with` block, of all threads."""
  found = Clock()

  def note(event: str, seconds: float, **_):
    if event == _BACKEND:
      found.seconds += seconds

  jax.monitoring.register_event_duration_secs_listener(note)
  try:
    yield found
  finally:
    jax.monitoring.unregister_event_duration_listener(note)
