"""Hashes of the files of a job in chunks, which show what must be made again.

  OUT/FOLDER/000000.json    hashes of the files of a chunk, written after them
  OUT/hashes.json           hashes of final files, written when they are there

Names are relative to OUT. A file without a recorded hash is unfinished, except
in folders of older jobs, which recorded no hashes.
"""

from collections.abc import Collection, Mapping
import dataclasses
import functools

from etils import epath
import numpy as np

from rq_jax import files
from rq_jax import hashes
from rq_jax.jobs import manifest

NAME = 'hashes.json'

_SHOWN = 3  # At most so many names appear in a message.


@dataclasses.dataclass(frozen=True)
class FileHashes:
  """The recorded hashes of the files in the folder of a job.

  Attributes:
    folder: Folder of the job; `job.json` must exist.
    chunks: Names of the folders in it for chunks. New records of chunks are
      written to the first one.
  """

  folder: epath.Path
  chunks: tuple[str, ...]

  @functools.cached_property
  def required(self) -> bool:
    """Whether files without a hash are unfinished."""
    return manifest.has_hashes(self.folder)

  def read(self) -> dict[str, str]:
    """All recorded hashes, by the names of the files.

    Raises:
      ValueError: If `hashes.json` is damaged.
    """
    found = of_final_files(self.folder)
    for record in self._records():
      found |= _recorded_in(record) or {}
    return found

  def are_finished(
      self, names: Collection[str], recorded: Mapping[str, str]
  ) -> bool:
    """Whether files that exist are finished; `recorded` is from `read`."""
    return not self.required or all(name in recorded for name in names)

  def record(self, chunk: int, found: Mapping[str, str]) -> None:
    """Records the hashes of the files of a chunk, which makes it finished."""
    folder = self.folder / self.chunks[0]
    folder.mkdir(exist_ok=True)
    file = folder / f'{chunk:06d}.json'
    files.write_json(file, hashes.seal({'files': dict(found)}))

  def finish(
      self, names: Collection[str], *, written: Collection[str] = ()
  ) -> None:
    """Records final files; hashes those that have no recorded hash.

    Args:
      names: Names of all final files.
      written: Those that were just written. They are hashed in any case,
        because an earlier file of the same name may have had other bytes.

    Raises:
      OSError: If a file cannot be read.
    """
    recorded = {n: h for n, h in self.read().items() if n not in written}
    found = {
        name: recorded.get(name) or hashes.of_file(self.folder / name)
        for name in names
    }
    final = of_final_files(self.folder)
    if final | found != final:
      self._write(final | found)

  def has(self, names: Collection[str]) -> bool:
    """Whether final files are recorded; true for older jobs."""
    recorded = of_final_files(self.folder) if self.required else {}
    return self.are_finished(names, recorded)

  def remove_damaged(self) -> list[str]:
    """Removes files that do not have their hash, and damaged records.

    Call it in one process, before the others look for missing chunks.

    Returns:
      The names of the files that were removed.

    Raises:
      ValueError: If `hashes.json` is damaged.
      OSError: If a file cannot be read; no file is removed then.
    """
    recorded, final = self.read(), of_final_files(self.folder)
    found = hashes.of_files([self.folder / name for name in recorded])
    sound = {n for n, hash in zip(recorded, found) if hash == recorded[n]}
    wrong = [n for n in recorded.keys() - sound if (self.folder / n).exists()]
    for record in self._records():
      if _recorded_in(record) is None:
        wrong.append(f'{record.parent.name}/{record.name}')
    for name in wrong:
      (self.folder / name).unlink()
    if final.keys() - sound:  # Files that are made again may differ.
      self._write({n: hash for n, hash in final.items() if n in sound})
    return wrong

  def _write(self, final: Mapping[str, str]) -> None:
    files.write_json(
        self.folder / NAME, hashes.seal({'files': dict(sorted(final.items()))})
    )

  def _records(self) -> list[epath.Path]:
    folders = (self.folder / name for name in self.chunks)
    return [p for f in folders if f.exists() for p in f.glob('*.json')]


def write_array(file: epath.Path, array: np.ndarray) -> str:
  """Writes an array to a .npy file; returns the hash of the file.

  Raises:
    DiskFullError: If there is no room for the file.
  """
  header = files.npy_header(array.dtype, array.shape)
  content = np.ascontiguousarray(array).data
  with files.whole(file, needs=len(header) + array.nbytes) as stream:
    stream.write(header)
    # Unlike `np.save`, this distinguishes a full disk from other errors.
    stream.write(content)
  hashed = hashes.new(header)
  hashed.update(content)
  return hashed.hexdigest()


def of_final_files(folder: epath.PathLike) -> dict[str, str]:
  """The hashes in `hashes.json`; none if there is no such file.

  Raises:
    ValueError: If it is damaged.
  """
  file = epath.Path(folder) / NAME
  if not file.exists():
    return {}
  if (found := _recorded_in(file)) is not None:
    return found
  raise ValueError(
      f'{file} is damaged, so nothing shows whether the other files in its'
      ' folder are intact. Restore it from a copy, or remove it and run the'
      ' same command again, which then makes all files again.'
  )


def require_complete(folder: epath.PathLike) -> None:
  """Compares the files of a complete job with their hashes.

  Raises:
    ValueError: If a file is damaged or missing, or the job is unfinished; the
      message names the file.
  """
  recorded = of_final_files(folder)
  if not recorded and manifest.has_hashes(folder):
    raise ValueError(
        f'{folder} is unfinished: it has no {NAME}. Run the command that wrote'
        ' it again.'
    )
  paths = [epath.Path(folder) / name for name in recorded]
  found = hashes.of_files(paths)
  wrong = [n for n, hash in zip(recorded, found) if hash != recorded[n]]
  if wrong:
    raise ValueError(
        f'{folder}: {described(wrong)} damaged or missing. Run the command'
        ' that wrote the folder again: it makes only these files again. Or'
        ' restore them from a copy.'
    )


def described(names: Collection[str]) -> str:
  """Names of files and a verb, such as '3 files (a, b, c) are'."""
  shown = ', '.join(sorted(names)[:_SHOWN])
  more = ', ...' if len(names) > _SHOWN else ''
  one = len(names) == 1
  what = 'file' if one else 'files'
  return f'{len(names)} {what} ({shown}{more}) {"is" if one else "are"}'


def _recorded_in(record: epath.Path) -> dict[str, str] | None:
  """The hashes in a JSON file; None if it is damaged or another file."""
  try:
    value = files.read_json_object(record)
  except ValueError:
    return None
  return value.get('files') if hashes.is_intact(value) else None
