"""Files of the features of a chunk: arrays by name, with their hash.

A file is a .npz file that NumPy reads. Its comment is the BLAKE2b hash of the
name of the file, and of the names, types, shapes and bytes of all arrays. In
older files, the hash is not of the name of the file. Equal arrays give equal
files.
"""

from collections.abc import Mapping
import hashlib
import io
import zipfile

from etils import epath
import numpy as np

from rq_jax import files
from rq_jax.distributed import progress

FOLDER = 'features'


def path(folder: epath.PathLike, chunk: int) -> epath.Path:
  """The file of a chunk in the folder of a job."""
  return epath.Path(folder) / FOLDER / f'{chunk:06d}.npz'


def finished(folder: epath.PathLike) -> set[int]:
  """Numbers of the chunks that have a file."""
  there = epath.Path(folder) / FOLDER
  if not there.exists():
    return set()
  return {int(p.stem) for p in there.iterdir() if p.suffix == '.npz'}


def write(file: epath.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays to a file, which appears whole or not at all.

  Raises:
    DiskFullError: If there is no room for the file.
  """
  file.parent.mkdir(exist_ok=True)
  contiguous = {n: np.ascontiguousarray(a) for n, a in arrays.items()}
  needs = sum(array.nbytes for array in contiguous.values())
  with (
      files.whole(file, needs=needs) as stream,
      zipfile.ZipFile(stream, 'w') as archive,
  ):
    for name, array in contiguous.items():
      # Entries that are opened by name have the date 1980-01-01.
      with archive.open(f'{name}.npy', 'w', force_zip64=True) as entry:
        entry.write(files.npy_header(array.dtype, array.shape))
        entry.write(array.data)
    archive.comment = _comment(file.name, contiguous)


def read(file: epath.Path) -> dict[str, np.ndarray]:
  """Reads the arrays of a file, and compares them with their hash.

  Raises:
    ValueError: If the file is damaged.
    OSError: If it is missing or cannot be read.
  """
  content = io.BytesIO(file.read_bytes())
  try:
    with np.load(content) as archive:
      arrays = {name: archive[name] for name in archive.files}
      found = archive.zip.comment
  except Exception as error:  # NumPy raises many types for damaged files.
    raise _damaged(file, str(error)) from error
  if found not in (_comment(file.name, arrays), _digest(arrays)):
    raise _damaged(file, 'its arrays do not have the hash that it names')
  return arrays


def remove_damaged(folder: epath.PathLike) -> list[str]:
  """Removes damaged files of a job; returns their names.

  Call it in one process. It reads all files, in threads.

  Raises:
    OSError: If a file cannot be read.
  """

  def is_damaged(file: epath.Path) -> bool:
    try:
      read(file)
    except ValueError:
      return True
    return False

  there = [path(folder, chunk) for chunk in sorted(finished(folder))]
  damaged = progress.in_threads(
      is_damaged, there, desc='comparing hashes', unit=' files'
  )
  wrong = [file for file, is_wrong in zip(there, damaged) if is_wrong]
  for file in wrong:
    file.unlink()
  return [f'{FOLDER}/{file.name}' for file in wrong]


def _comment(name: str, arrays: Mapping[str, np.ndarray]) -> bytes:
  return b'2 ' + _digest(arrays, name)


def _digest(arrays: Mapping[str, np.ndarray], file: str = '') -> bytes:
  hashed = hashlib.blake2b(file.encode(), digest_size=32)
  for name, array in arrays.items():
    hashed.update(f'{name} {array.dtype.str} {array.shape} '.encode())
    hashed.update(array.data)
  return hashed.hexdigest().encode()


def _damaged(file: epath.Path, reason: str) -> ValueError:
  return ValueError(
      f'{file} is damaged: {reason}. Remove it, and run the same command again.'
  )
