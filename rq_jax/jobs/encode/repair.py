"""Finds damaged shards of a cache, so that only these are encoded again.

When a cache is complete, its `job.json` is renamed to `encoded.json`. The same
job renames it back if files are damaged or missing, and then continues as if it
had been interrupted.
"""

from collections.abc import Sequence
import pathlib
from typing import Any

from rq_jax.data.feature_cache import layout
from rq_jax.data.feature_cache import records
from rq_jax.distributed import console
from rq_jax.jobs import file_hashes
from rq_jax.jobs import manifest

COMPLETE = 'encoded.json'
# The hash of the file names identifies the data; the path may change.
INFORMATION = ('data.path',)


def reopen(
    out: pathlib.Path, splits: Sequence[layout.Split], described: dict[str, Any]
) -> None:
  """Marks a complete cache as unfinished if this job can repair it.

  Call it in one process.

  Args:
    out: Folder of the cache.
    splits: All splits of the job.
    described: All values that decide the bytes of the cache.
  """
  complete, unfinished = out / COMPLETE, out / manifest.NAME
  if not complete.exists() or unfinished.exists():
    return
  if not manifest.describes(complete, described, information=INFORMATION):
    complete.unlink()  # This job replaces the cache.
  elif remove_damaged(out, splits) or not _is_intact(out, splits):
    complete.replace(unfinished)


def remove_damaged(
    out: pathlib.Path, splits: Sequence[layout.Split]
) -> list[str]:
  """Lets damaged shards count as unfinished; returns their damaged files."""
  wrong = [
      f'{split.name}/{name}'
      for split in splits
      for name in records.remove_damaged(split)
  ]
  if wrong:
    console.tell(
        f'{out}: {file_hashes.described(wrong)} damaged. Only these shards are'
        ' encoded again.'
    )
  return wrong


def _is_intact(out: pathlib.Path, splits: Sequence[layout.Split]) -> bool:
  """Whether all shards are finished, and described by `meta.json`."""
  try:
    for split in splits:
      records.read_meta(out, split.name)
  except ValueError:
    return False
  return all(len(records.finished(s)) == s.num_shards for s in splits)
