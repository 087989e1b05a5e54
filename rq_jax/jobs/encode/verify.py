"""Compares the files of a feature cache with their hashes."""

from rq_jax import files
from rq_jax.data.feature_cache import reader
from rq_jax.distributed import progress


def verify(cache: str) -> str:
  """Compares the files of a cache with their hashes, and shows progress.

  Args:
    cache: Folder of the cache.

  Returns:
    A sentence for the user.

  Raises:
    ValueError: If a file differs or is missing; see `reader.verify`.
  """
  cache = files.path(cache, 'cache')
  total = reader.array_bytes(cache)
  with progress.bar(
      total=total, unit='B', unit_scale=True, desc='verify'
  ) as bar:
    reader.verify(cache, seen=bar.update)
  return (
      f'All files of {cache} are as they were encoded'
      f' ({files.readable(total)}).'
  )
