"""Writes the folder of a conversion whole, and checks what is in it."""

from collections.abc import Iterable, Iterator
import contextlib
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rq_jax import files
from rq_jax.conversion import mapping


@contextlib.contextmanager
def written_whole(dst: str) -> Iterator[pathlib.Path]:
  """Yields a folder to write to, which is renamed to `dst` if nothing fails.

  Raises:
    ValueError: If `dst` is not empty, or cannot be written, at first or later.
    DiskFullError: If there is not enough space on the disk.
  """
  target = pathlib.Path(dst).resolve()
  if target.exists() and (not target.is_dir() or any(target.iterdir())):
    raise ValueError(
        f'--dst={dst} exists already, and is not overwritten. Choose another'
        ' --dst, or remove it.'
    )
  with contextlib.ExitStack() as opened:
    try:
      partial = opened.enter_context(files.whole_folder(target))
    except OSError as error:
      raise ValueError(
          f'--dst={dst} cannot be written: {error.strerror}. Choose another'
          ' --dst.'
      ) from error
    try:
      yield pathlib.Path(partial)
    except files.DiskFullError:
      raise
    except OSError as error:
      if not str(error.filename).startswith(str(partial)):
        raise
      raise ValueError(
          f'--dst={dst} was removed, or cannot be written any more:'
          f' {error.strerror}. Run the same command again.'
      ) from error


def require_same(
    written: dict[str, Any],
    arrays: Iterable[tuple[str, np.ndarray]],
    folder: pathlib.Path,
    source: str | os.PathLike,
) -> None:
  """Compares arrays that were read back with their source, bit by bit.

  Args:
    written: The arrays in `folder`, by path. Each is removed once it is
      compared, so that its memory is freed.
    arrays: Path and values of each array, from the source.
    folder: Folder that was written, for the error.
    source: Path of the source, for the error.

  Raises:
    ValueError: If an array differs.
  """
  for name, array in arrays:
    if not mapping.same_bits(array, np.asarray(written.pop(name))):
      raise ValueError(
          f'{folder}: {name} differs from {source}. The disk may be failing.'
          ' Choose --dst on another disk.'
      )


def require_finite(values: jax.Array, what: str) -> None:
  """Raises a ValueError that names `what` if any value is not finite."""
  if not bool(jnp.all(jnp.isfinite(values))):
    raise ValueError(
        f'Numbers in {what} are not finite: the weights are unusable, although'
        ' they were converted exactly. Download or copy the file again.'
    )
