"""Compares the files of a feature cache with their hashes."""

from rq_jax import files
from rq_jax.data.feature_cache import layout
from rq_jax.data.feature_cache import reader
from rq_jax.distributed import progress


def verify(cache: str) -> str:
  """Compares the files of a cache with their hashes, and shows progress.

  Args:
    cache: Folder of the cache.

  Returns:
    A sentence for the user.

  Raises:
    ValueError: If there is no cache, or a file differs or is missing; see
      `reader.verify`.
  """
  cache = files.path(cache, '--out')
  if not (layout.local(cache) / 'train').is_dir():
    raise ValueError(
        f'--out={cache} has no folder train/, so it is no cache of features.'
        f' Change --out, or write a cache with {layout.COMMAND}.'
    )
  total = reader.array_bytes(cache)
  with progress.bar(
      total=total, unit='B', unit_scale=True, desc='verify'
  ) as bar:
    reader.verify(cache, seen=bar.update)
  return (
      f'All files of {cache} are as they were encoded'
      f' ({files.readable(total)}).'
  )
