"""Compiled programs: kept on disk between runs, and timed."""

from collections.abc import Iterator
import contextlib
import dataclasses
import os
import pathlib
import stat

import jax

_BACKEND = '/jax/core/compile/backend_compile_duration'
_ENABLED = 'RQ_JAX_COMPILATION_CACHE'


def keep(folder: str | None = None) -> pathlib.Path | None:
  """Keeps compiled programs on disk, for all that is compiled from now on.

  Whoever can write to the folder can run code in this process: it is made for
  this user alone, and refused where others may write. A folder that JAX was
  told of before (`JAX_COMPILATION_CACHE_DIR`) stays.

  Args:
    folder: Where; `RQ_JAX_COMPILATION_CACHE`, or else a folder in the user's
      cache, if None. `off` keeps nothing.

  Returns:
    The folder, or None.

  Raises:
    ValueError: If it cannot be made, others may write to it, or it belongs to
      another user.
  """
  if folder is None:
    if jax.config.jax_compilation_cache_dir:
      return pathlib.Path(jax.config.jax_compilation_cache_dir)
    base = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
    folder = os.environ.get(_ENABLED) or str(pathlib.Path(base, 'rq_jax/xla'))
  if folder == 'off':
    return None
  path = pathlib.Path(folder)
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
  jax.config.update('jax_compilation_cache_dir', str(path))
  # Small programs, too: there are dozens of them.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
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
