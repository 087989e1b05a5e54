"""Records which shards are finished, and what they hold.

While a job runs, `SHARD.json` beside each finished shard describes it. When all
shards are finished, these descriptions move to `manifest.json`.
"""

from collections.abc import Iterable, Mapping
import dataclasses
import hashlib
import json
import pathlib
from typing import Any

from rq_jax import files
from rq_jax import hashes
from rq_jax.data.prepared import manifest
from rq_jax.data.prepared import shards

REFUSED = 'refused.jsonl'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finished:
  """A finished shard.

  Attributes:
    file: Name of its file.
    written: What the file holds.
    refused: Images that were left out: their 'split', 'row', 'name' and
      'reason'.
  """

  file: str
  written: shards.Written
  refused: tuple[dict[str, Any], ...] = ()

  @classmethod
  def parse(cls, fields: dict[str, Any]) -> 'Finished':
    """Reads what `fields` returned."""
    written = fields['written']
    return cls(
        file=fields['file'],
        written=shards.Written(**written),
        refused=tuple(fields['refused']),
    )

  def fields(self) -> dict[str, Any]:
    """All values, for JSON."""
    return dataclasses.asdict(self)


def record(folder: pathlib.Path, finished: Finished) -> None:
  """Records that a shard has its final name."""
  sealed = hashes.seal(finished.fields())
  files.write_json(_beside(folder, finished.file), sealed)


def read(folder: pathlib.Path, names: Iterable[str]) -> dict[str, Finished]:
  """The finished shards among those with the given names.

  A shard whose own description is damaged counts as unfinished.

  Raises:
    ValueError: If the manifest is damaged.
  """
  found = {}
  if (folder / manifest.NAME).exists():
    for fields in manifest.read(folder)['shards']:
      found[fields['file']] = Finished.parse(fields)
  for name in names:
    if (beside := _beside(folder, name)).exists():
      try:
        fields = hashes.unsealed(files.read_json_object(beside), beside)
        found[name] = Finished.parse(fields)
      except (ValueError, KeyError, TypeError):  # Older ones have no hash.
        found.pop(name, None)
  return {
      name: found[name]
      for name in names
      if name in found and _is_whole(folder / name, found[name].written)
  }


def remove_damaged(
    folder: pathlib.Path, found: Mapping[str, Finished]
) -> list[str]:
  """Removes shards that do not have their SHA-256; returns their names.

  Call it in one process. It reads all shards, in threads.

  Args:
    folder: Folder of the dataset.
    found: The finished shards by name, from `read`.
  """
  hashed = hashes.of_files([folder / name for name in found], hashlib.sha256)
  wrong = [n for n, sha in zip(found, hashed) if sha != found[n].written.sha256]
  for name in wrong:
    (folder / name).unlink()
    _beside(folder, name).unlink(missing_ok=True)
  return wrong


def _is_whole(file: pathlib.Path, written: shards.Written) -> bool:
  return file.exists() and file.stat().st_size == written.file_bytes


def pending(folder: pathlib.Path) -> list[pathlib.Path]:
  """Descriptions of shards that are not in the manifest yet."""
  return [*folder.glob('*.array_record-*.json')]


def write_refused(folder: pathlib.Path, found: Iterable[Finished]) -> int:
  """Writes one line per refused image to `REFUSED`; returns their number.

  Without refused images, there is no file.
  """
  lines = [json.dumps(entry) for shard in found for entry in shard.refused]
  if not lines:
    (folder / REFUSED).unlink(missing_ok=True)
    return 0
  text = '\n'.join(lines) + '\n'
  with files.whole(folder / REFUSED, needs=len(text)) as file:
    file.write(text.encode())
  return len(lines)


def _beside(folder: pathlib.Path, name: str) -> pathlib.Path:
  return folder / f'{name}.json'
