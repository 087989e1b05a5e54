"""The manifest of a dataset that `prepare` wrote, and what it shows of damage.

`manifest.json` holds, among others,

  version        of the format; 1 has no hashes except for those of the shards
  shards         what each shard holds; see `shards.Written`
  descriptions   hashes of the files that describe the dataset to TFDS
  info           hash of the contents of dataset_info.json
  hash           of all of the above
"""

from collections.abc import Collection
from concurrent import futures
from typing import Any

from etils import epath

from rq_jax import files
from rq_jax import hashes
from rq_jax.data.prepared import folder as folder_lib
from rq_jax.data.prepared import shards

NAME = 'manifest.json'
VERSION = 2

_REQUESTS = 16  # Shards that are looked at at a time; storage may be remote.
_ADVICE = (
    'Run `python -m rq_jax prepare` with the same values again, which makes'
    ' only damaged files again, or restore the file from a copy.'
)


def read(folder: epath.PathLike) -> dict[str, Any]:
  """Reads the manifest of a dataset.

  Raises:
    ValueError: If it is damaged or missing, or of a newer version.
  """
  file = epath.Path(folder) / NAME
  if not file.exists():
    raise ValueError(f'{file} is missing. Restore it from a copy.')
  found = files.read_json_object(file)
  if found.get('version') == 1 and not hashes.is_sealed(found):
    return found
  contents = hashes.unsealed(found, file)
  if contents.get('version') != VERSION or not hashes.is_sealed(found):
    raise ValueError(
        f'{file} is damaged, or of a newer version than {VERSION}. Restore it'
        ' from a copy, or update rq_jax.'
    )
  return contents


def check(folder: epath.PathLike) -> None:
  """Compares a dataset with its manifest, without reading whole shards.

  Compares the descriptions, and the sizes and the ends of all shards. Datasets
  of others and of version 1 have no hashes.

  Raises:
    ValueError: If a file is damaged or missing; the message names it.
  """
  folder = epath.Path(folder)
  if not (folder / NAME).exists() and not (folder / 'job.json').exists():
    return  # Not written by `prepare`.
  contents = read(folder)
  if contents['version'] == 1:
    return  # Shards have no hashes of their ends.
  wrong = damaged_descriptions(folder, contents)
  found = {
      s['file']: shards.Written(**s['written']) for s in contents['shards']
  }

  def is_wrong(name: str) -> bool:
    try:
      size = (folder / name).stat().length
      ends = shards.hash_of_ends(folder / name)
    except OSError:
      return True
    # Shards that version 1 wrote have no hash of their ends.
    expected = found[name].file_bytes, found[name].ends or ends
    return (size, ends) != expected

  with futures.ThreadPoolExecutor(_REQUESTS) as pool:
    wrong += [n for n, is_so in zip(found, pool.map(is_wrong, found)) if is_so]
  if wrong:
    raise ValueError(f'{folder / wrong[0]} is damaged or missing. {_ADVICE}')


def described(
    folder: epath.PathLike, names: Collection[str], info: dict[str, Any]
) -> dict[str, Any]:
  """The fields of a manifest about the descriptions of a dataset.

  Args:
    folder: Folder of the dataset.
    names: Names of the files that TFDS has written.
    info: The contents of dataset_info.json.
  """
  return {
      'descriptions': {
          name: hashes.of_file(epath.Path(folder) / name) for name in names
      },
      'info': hashes.of_value(info),
  }


def damaged_descriptions(
    folder: epath.PathLike, contents: dict[str, Any]
) -> list[str]:
  """Names of descriptions that are damaged or missing.

  Args:
    folder: Folder of the dataset.
    contents: Its manifest. Version 1 has no hashes of them.
  """
  if contents['version'] == 1:
    return []
  folder, recorded = epath.Path(folder), contents['descriptions']
  found = hashes.of_files([folder / name for name in recorded])
  wrong = [n for n, hash in zip(recorded, found) if hash != recorded[n]]
  try:
    info = hashes.of_value(files.read_json(folder / folder_lib.INFO))
  except (ValueError, OSError):
    info = None
  return wrong if info == contents['info'] else [*wrong, folder_lib.INFO]
